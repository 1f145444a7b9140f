"""What a KPI is: definitions, catalogue, formulas, the one aggregate statement, results. Pure."""
