"""packaging/kubernetes.yaml and packaging/grafana-dashboard.json: well formed, and true to the server."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import yaml

from nano_banana_mcp import __version__
from nano_banana_mcp.cli import build_parser
from nano_banana_mcp.http.app import ICON_PATH, MCP_PATH
from nano_banana_mcp.upload_page.endpoint import PATH as UPLOAD_PATH
from tests.release.packaging.documented_names import SETTINGS, longest_end_seconds
from tests.support.http_server import served
from tests.support.paths import ROOT

MANIFESTS = {
    manifest["kind"]: manifest
    for manifest in yaml.safe_load_all((ROOT / "packaging/kubernetes.yaml").read_text(encoding="utf-8"))
}
POD: dict[str, Any] = MANIFESTS["Deployment"]["spec"]["template"]["spec"]
[SERVER] = POD["containers"]
DASHBOARD = json.loads((ROOT / "packaging/grafana-dashboard.json").read_text(encoding="utf-8"))
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_the_manifests_are_of_kinds_that_every_cluster_has() -> None:
    assert {kind: manifest["apiVersion"] for kind, manifest in MANIFESTS.items()} == {
        "Deployment": "apps/v1",
        "Service": "v1",
        "Ingress": "networking.k8s.io/v1",
        "PodDisruptionBudget": "policy/v1",
    }


def test_service_budget_and_ingress_lead_to_the_pods() -> None:
    labels = MANIFESTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert MANIFESTS["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    [port] = MANIFESTS["Service"]["spec"]["ports"]
    assert port["targetPort"] in [port["name"] for port in SERVER["ports"]]
    for path in MANIFESTS["Ingress"]["spec"]["rules"][0]["http"]["paths"]:
        service = path["backend"]["service"]
        assert (service["name"], service["port"]["name"]) == (MANIFESTS["Service"]["metadata"]["name"], port["name"])


def test_the_ingress_forwards_public_endpoints_and_nothing_else() -> None:
    paths = {path["path"] for path in MANIFESTS["Ingress"]["spec"]["rules"][0]["http"]["paths"]}
    upload = "/" + UPLOAD_PATH.split("/")[1]
    assert paths == {MCP_PATH, ICON_PATH, upload, "/webhooks", "/.well-known/oauth-protected-resource"}


def test_the_server_is_of_this_version_and_its_command_and_settings_exist() -> None:
    assert SERVER["image"] == f"nano-banana-mcp:{__version__}"
    build_parser().parse_args(SERVER["args"])
    assert {variable["name"] for variable in SERVER["env"]} <= SETTINGS


def test_a_pod_may_do_nothing_but_serve() -> None:
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"]["runAsNonRoot"] is True
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" in dockerfile
    assert SERVER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["name"] for mount in SERVER["volumeMounts"]} == {volume["name"] for volume in POD["volumes"]}


def test_a_pod_is_given_as_long_to_end_as_it_may_take() -> None:
    before = int(SERVER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] >= before + longest_end_seconds()


def test_the_panels_fill_the_dashboard_without_overlap() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {"${datasource}"}


def test_the_probes_answer_and_every_metric_of_the_dashboard_with_its_labels_exists() -> None:
    with served("--sandbox") as server:
        for probe in ("readinessProbe", "livenessProbe"):
            assert httpx.get(f"{server.root}{SERVER[probe]['httpGet']['path']}", trust_env=False).status_code == 200
        text = httpx.get(f"{server.root}/metrics", trust_env=False).text
    families = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    for expression in EXPRESSIONS:
        assert expression.count("(") == expression.count(")")
        [metric] = re.findall(r"\bnano_banana_\w+", expression)
        assert metric.removesuffix("_bucket") in families, metric
