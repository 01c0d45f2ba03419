"""A simulated fleet that runs as its users run it, and that a test may look into, and break."""

import http.client
import json
import socket
from contextlib import closing
from urllib.request import urlopen

from fleet_process import FleetProcess

from ollama_fleet.directories import Directories

SCALE = {"OLLAMA_SIM_TIME_SCALE": "50"}


class ServedFleet(FleetProcess):
    """Adds to a process what its control socket and its instances' own switches offer."""

    def snapshot(self):
        """What `fleet status` shows, asked for at the control socket."""
        with closing(http.client.HTTPConnection("fleet")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(Directories.find(self.environment).socket))
            connection.request("GET", "/v1/status")
            return json.load(connection.getresponse())

    def in_flight(self):
        """How many requests hold a slot, by the instances that have any."""
        instances = self.snapshot()["instances"]
        return {i["name"]: i["in_flight"] for i in instances if i["in_flight"]}

    def strike(self, faults):
        """Replace the scripted faults of every instance."""
        for instance in self.snapshot()["instances"]:
            with urlopen(f"{instance['url']}/sim/faults", faults.encode(), timeout=30):
                pass
