"""A release in which every option that a file can have is used, and one KPI has none."""

from __future__ import annotations

ODD: dict[str, str] = {
    "contracts/odd.yml": """\
apiVersion: v3.1.0
kind: DataContract
id: odd
name: odd
version: 1.2.3
status: draft
description: {purpose: To be odd.}
schema:
  - name: tape
    description: Préstamos — “ñ”
    physicalType: csv
    properties:
      - {name: loan_id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 2}
      - {name: part, logicalType: integer, required: true, primaryKey: true, primaryKeyPosition: 1,
         logicalTypeOptions: {minimum: -3, maximum: "7"}}
      - name: balance
        logicalType: number
        physicalType: DECIMAL(18,0)
        description: "Balance: 'quoted'"
        customProperties: [{property: mustExist, value: false}]
      - name: overdue
        logicalType: number
        physicalType: DECIMAL(18,12)
        customProperties: [{property: within, value: balance}]
      - {name: product, logicalType: string, tags: [dimension], logicalTypeOptions: {maxLength: 7}}
      - {name: name, logicalType: string, tags: [pii], classification: secret}
      - {name: born, logicalType: date, logicalTypeOptions: {minimum: "1900-01-01"}}
      - {name: alive, logicalType: boolean}
    quality:
      - {id: TAPE-901, name: within, type: custom, engine: abaco, implementation: overdue <= balance + 0.050,
         severity: warning, description: Said.}
      - {id: TAPE-902, name: error, implementation: balance >= 0}
    customProperties:
      - {property: amount, value: [balance, overdue]}
  - name: more
    properties:
      - {name: at, logicalType: date}
    customProperties:
      - {property: optional, value: true}
      - {property: repeats, value: true}
customProperties:
  - {property: layout, value: odd}
  - {property: limitRows, value: "0.0500"}
  - {property: limitAmount, value: "1E-3"}
  - {property: limitUnmeasured, value: 12}
  - {property: piiPatterns, value: ["^name$", "e?mail"]}
""",
    "mappings/odd.yml": """\
name: odd
layout: odd
description: Everything at once.
tables:
  tape:
    file: préstamos.csv
    sheet: Hoja 1
    delimiter: "\\t"
    encoding: latin-1
    formats: {decimal: ",", thousands: " ", date: "%d/%m/%Y"}
    columns:
      loan_id: Préstamo
      part: {from: Parte, unit: percent}
      born: {from: Nacido, date: "%d %b %y"}
      product: {from: Producto, codes: {"1": loan, sí: "no", "null": "true"}}
  more:
    columns: {at: Fecha}
""",
    "mappings/none.yml": "name: none\nlayout: odd\ntables: {tape: {columns: {loan_id: a, part: b}}}\n",
    "catalogue.yml": """\
version: "007"
kpis:
  - id: a.late
    name: Late
    description: Made of one that stands below.
    formula: a.early * 100 / (run.rows_in + 1)
    unit: "%"
    precision: 0
    valid_range: {min: -1.50, max: 1E+2, clamp: true}
    thresholds: {warning: 0.10, critical: 1e1, direction: high_is_bad}
    owner: nobody
    departments: [a, b]
    refresh: hourly
    source: tape
    segmented: false
  - id: a.early
    name: Early
    description: ""
    formula: SUM(CASE WHEN customer_rank <= 10 THEN outstanding_usd ELSE 0 END)
    unit: USD
    precision: 10
    grain: customer
    owner: ""
    departments: [a]
    refresh: daily
    source: ""
""",
    "definitions.yml": """\
definitions:
  plain: {version: "1"}
  odd:
    version: 2-b
    description: "Everything: changed"
    boundary: more_than
    cover: principal
    dpd_method: rolling
    arrears_tolerance: 0.010
    grace_days: 3
    dust_share: 1E-2
    write_off_after_days: 365
    write_off: sticky
    restructured: at_risk
    dpd_edges: [0, 2, 45]
    default_for: [bucketed, snapshot, servicing]
  monthly: {version: "1", dpd_method: monthly_ots}
""",
}
