"""What the client tests speak of: models, messages, a tool in each library's form."""

MODEL = "llama3.1:8b"  # calls the tools that a message names
WITHOUT_TOOLS = "mistral:7b"
EMBEDDER = "nomic-embed-text"
HELLO = [{"role": "user", "content": "hello"}]
ASKED = [{"role": "user", "content": "use get_weather, please"}]
BOTH_ASKED = [{"role": "user", "content": "use get_weather and get_time"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
    },
    "required": ["city", "days"],
}
ARGUMENTS = {"city": "city", "days": 1}  # what the simulated models make of it
NO_ARGUMENTS = {"type": "object", "properties": {}}
WEATHER = "sunny, as get_weather says"
BUSY = "server busy, please try again.  maximum pending requests exceeded"
TEXTS = ["the first text", "another one", "a third", "the first text"]
