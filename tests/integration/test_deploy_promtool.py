"""deploy/ as Prometheus's own checker sees it."""

import re

import yaml
from deployed import DEPLOY, queries
from promtool import needs_promtool, promtool

PROMETHEUS = DEPLOY / "prometheus"

pytestmark = needs_promtool


def test_rules_and_configuration_are_well_formed():
    for kind, file in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        status, told = promtool("check", kind, PROMETHEUS / file)
        assert status == 0, told


def test_every_alert_fires_when_it_should_and_a_healthy_fleet_fires_none():
    status, told = promtool("test", "rules", "alerts.test.yml", cwd=PROMETHEUS)
    assert status == 0, told


def test_every_query_of_the_dashboard_is_promql(tmp_path):
    values = {"$fleet": ".*", "$instance": ".*", "$model": ".*", "$__rate_interval": "5m"}
    rules = []
    for number, (_, expression) in enumerate(queries()):
        filled = re.sub(r"\$\w+", lambda name: values[name[0]], expression)
        rules.append({"record": f"query:{number}", "expr": filled})
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    status, told = promtool("check", "rules", file)
    assert status == 0, told
