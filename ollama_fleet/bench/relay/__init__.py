"""What relaying costs: our router beside nginx, a plain aiohttp proxy, and no proxy at all."""
