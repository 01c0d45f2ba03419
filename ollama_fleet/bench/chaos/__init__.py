"""`scripts/soak chaos`: a fleet under load while a seeded schedule breaks what can break.

`schedule` (pure) says what befalls whom and when, `asks` (pure) what clients want. `fleet` is the
fleet, as shipped and in processes of its own; `clients` talk to it, `striking` strikes, `watching`
takes its pulse. What the clients saw is judged by `verdict` (pure), read with `reading` (pure);
`report` (pure) says whether the invariants held.
"""
