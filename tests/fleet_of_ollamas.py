"""A fleet of real Ollama processes, as the tests of its models ask it."""

import json
import subprocess

from fleet_process import FleetProcess, call

from ollama_fleet.cli.control import Control
from ollama_fleet.directories import Directories

OURS = """
ollama: {{ binary: {ollama}, models: {folder}/shared }}
defaults: {{ context_length: 2048, num_parallel: 1 }}
pulls: {pulls}
"""
ANYWHERE = '{ registries: ["*"], insecure: true, listen: "127.0.0.1:0" }'


class OllamaFleet(FleetProcess):
    """A fleet on the machine's CPU; its own store is `shared` in its folder.

    In `config`, FOLDER stands for that folder.
    """

    def __init__(self, box, folder, config, *, pulls=ANYWHERE, binary=""):
        ours = OURS.format(ollama=binary or box.ollama, folder=folder, pulls=pulls)
        config = config.replace("FOLDER", str(folder))
        super().__init__(folder, config=ours + config, HOME=str(box.home))
        self.box = box
        self.control = Control(Directories.find(self.environment))

    def told(self, *arguments, check=True):
        """The JSON document that a command prints."""
        return json.loads(self.run(*arguments, "-o", "json", check=check).stdout)

    def records(self, *arguments, check=True):
        """The progress records of a pull or a sync, and how it ended."""
        done = self.run(*arguments, "-o", "json", check=check)
        return [json.loads(line) for line in done.stdout.splitlines()], done

    def holders(self, model):
        """Where models of names that begin so are: {digest: {instance: presence}}."""
        found = self.control.models([model])["models"]
        return {
            each["digest"]: {p["instance"]: p["presence"] for p in each["places"]} for each in found
        }

    def status(self):
        return self.control.status()

    def says(self, instance, model):
        """Whether an instance itself, asked at its own address, answers with this model."""
        body = {"model": model, "prompt": "hi", "stream": False, "options": {"num_predict": 2}}
        url = self.instances()[instance]["url"]
        return call(f"{url}/api/generate", body)["done"]

    def ollama(self, *arguments, check=True):
        """Run the `ollama` command line against the router; what it printed."""
        return subprocess.run(
            [self.box.ollama, *arguments],
            env=self.as_client(),
            capture_output=True,
            text=True,
            timeout=60,
            check=check,
        )

    def as_client(self):
        """The environment of Ollama's own command line for this fleet."""
        return {**self.environment, "OLLAMA_HOST": self.address}
