"""`scripts/soak faults`: one fault at a time in a fleet under load, and what came of it.

`fleet` is the fleet, as shipped and in processes of its own, `clients` keep it busy, `deaths`,
`answers` and `outage` strike and measure; `row` is what each of them reports.
"""
