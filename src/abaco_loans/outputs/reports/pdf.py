"""A page as PDF: WeasyPrint lays out the very HTML, with its rules for print. Same page and fonts, same bytes."""

from __future__ import annotations

from abaco_loans.errors import WorldError


def pdf(page: str, *, where: str) -> bytes:
    """The page as PDF. It may ask for nothing: neither the network nor a file.

    Raises:
        WorldError: ``OUT-111`` the package is missing.
    """
    try:
        from weasyprint import HTML
        from weasyprint.urls import URLFetcher
    except (ImportError, OSError) as error:  # OSError: the libraries that it draws with are missing
        raise WorldError(
            "writing a PDF needs an extra package",
            code="OUT-111",
            where=where,
            hint="pip install 'abaco-loans[pdf]'; or print the page from a browser",
        ) from error
    nothing = URLFetcher(allowed_protocols=())
    made: bytes = HTML(string=page, url_fetcher=nothing).write_pdf()
    return made
