"""Views over many dates: ageing, roll rates, vintages, speeds, concentration, provisions, covenants. Pure."""
