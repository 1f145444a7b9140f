"""Reports of a cutover: each is a sheet, made of recorded facts, that is written as Markdown, HTML or PDF."""
