"""The verbs of the product. They take Protocols; `wiring` picks the classes."""
