"""All views, by name, in the order in which a reader meets them."""

from __future__ import annotations

from abaco_loans.portfolio.ageing import AGEING
from abaco_loans.portfolio.borrowing_base import BORROWING_BASE
from abaco_loans.portfolio.collections import COLLECTIONS
from abaco_loans.portfolio.concentration import CONCENTRATION, TOP_CUSTOMERS
from abaco_loans.portfolio.covenants import COVENANTS
from abaco_loans.portfolio.cures import CURES
from abaco_loans.portfolio.first_payment import FIRST_PAYMENT_DEFAULT
from abaco_loans.portfolio.growth import GROWTH
from abaco_loans.portfolio.pricing import PRICING
from abaco_loans.portfolio.provisions import PROVISIONS
from abaco_loans.portfolio.roll_forward import ROLL_FORWARD
from abaco_loans.portfolio.roll_rates import ROLL_RATES, ROLL_RATES_AVERAGE
from abaco_loans.portfolio.speeds import SPEEDS
from abaco_loans.portfolio.view import View
from abaco_loans.portfolio.vintages import VINTAGES

VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        AGEING,
        ROLL_FORWARD,
        ROLL_RATES,
        ROLL_RATES_AVERAGE,
        CURES,
        FIRST_PAYMENT_DEFAULT,
        VINTAGES,
        SPEEDS,
        COLLECTIONS,
        CONCENTRATION,
        TOP_CUSTOMERS,
        PRICING,
        GROWTH,
        PROVISIONS,
        BORROWING_BASE,
        COVENANTS,
    )
}
