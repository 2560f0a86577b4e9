"""The prompt registry of Unity Catalog (Beta), as MLflow's `rest_store` asks it: prompts, versions, aliases, tags."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from aiohttp import web

from .errors import ApiError, invalid, missing

_ROOT = "/api/2.0/mlflow/unity-catalog/prompts"
# Object names of Unity Catalog: no period, space, slash or control character, at most 255 of them.
_PART = re.compile(r"[^.\s/\x00-\x1f\x7f]{1,255}")


class Prompts:
    """`schemas` are the schemas that exist (`None`: any). `beta` is `on`, `disabled` or `absent`."""

    def __init__(self):
        self.schemas = None
        self.beta = "on"
        self.prompts = {}  # name -> {"tags": {}, "aliases": {alias: version}, "versions": [...], "description": …}

    def add_routes(self, app):
        add = app.router.add_route
        add("POST", _ROOT, self._guarded(self._create))
        add("POST", f"{_ROOT}/search", self._guarded(self._search))
        add("GET", _ROOT + "/{name}", self._guarded(self._get))
        add("PATCH", _ROOT + "/{name}", self._guarded(self._get))
        add("DELETE", _ROOT + "/{name}", self._guarded(self._delete))
        add("POST", _ROOT + "/{name}/tags", self._guarded(self._tag))
        add("DELETE", _ROOT + "/{name}/tags/{key}", self._guarded(self._untag))
        add("POST", _ROOT + "/{name}/versions", self._guarded(self._create_version))
        add("POST", _ROOT + "/{name}/versions/search", self._guarded(self._search_versions))
        add("GET", _ROOT + "/{name}/versions/by-alias/{alias}", self._guarded(self._by_alias))
        add("GET", _ROOT + "/{name}/versions/{version}", self._guarded(self._get_version))
        add("PATCH", _ROOT + "/{name}/versions/{version}", self._guarded(self._get_version))
        add("DELETE", _ROOT + "/{name}/versions/{version}", self._guarded(self._delete_version))
        add("POST", _ROOT + "/{name}/versions/{version}/tags", self._guarded(self._tag_version))
        add("DELETE", _ROOT + "/{name}/versions/{version}/tags/{key}", self._guarded(self._untag_version))
        add("POST", _ROOT + "/{name}/aliases/{alias}", self._guarded(self._alias))
        add("DELETE", _ROOT + "/{name}/aliases/{alias}", self._guarded(self._unalias))
        for kind in ("models", "traces", "runs"):
            add("POST", f"/api/2.0/mlflow/unity-catalog/prompt-versions/links-to-{kind}", self._guarded(_nothing))

    def _guarded(self, handler):
        async def guarded(request):
            if self.beta == "disabled":
                said = "Prompt Registry is not enabled for this workspace. Ask an admin to turn on its preview."
                raise ApiError(403, "FEATURE_DISABLED", said)
            if self.beta == "absent":
                raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{request.method} {request.path}'")
            found = handler(request)
            return web.json_response(await found)

        return guarded

    def _check_name(self, name):
        parts = name.split(".")
        if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
            raise invalid(f"Invalid prompt name '{name}'. Expected format: catalog.schema.prompt_name")
        if self.schemas is not None and ".".join(parts[:2]) not in self.schemas:
            raise missing(f"Schema '{'.'.join(parts[:2])}' does not exist.")

    def _prompt(self, request):
        name = request.match_info["name"]
        self._check_name(name)
        if name not in self.prompts:
            raise missing(f"Prompt with name '{name}' does not exist.")
        return name, self.prompts[name]

    def _version(self, request, version=None):
        name, prompt = self._prompt(request)
        version = str(version or request.match_info["version"])
        if version not in prompt["versions"]:
            raise missing(f"Prompt version '{version}' of '{name}' does not exist.")
        return name, prompt, prompt["versions"][version]

    async def _create(self, request):
        body = await request.json()
        name = body.get("name", "")
        self._check_name(name)
        if name in self.prompts:
            raise ApiError(409, "RESOURCE_ALREADY_EXISTS", f"Prompt with name '{name}' already exists.")
        tags = {tag["key"]: tag.get("value", "") for tag in body["prompt"].get("tags", [])}
        made = {"tags": tags, "aliases": {}, "versions": {}, "last": 0, "at": _now()}
        self.prompts[name] = made | {"description": body["prompt"].get("description", "")}
        return _shown(name, self.prompts[name])

    async def _search(self, request):
        body = await request.json()
        schema = body["catalog_schema"]
        place = f"{schema['catalog_name']}.{schema['schema_name']}."
        found = [_shown(name, prompt) for name, prompt in self.prompts.items() if name.startswith(place)]
        return {"prompts": found}

    async def _get(self, request):
        return _shown(*self._prompt(request))

    async def _delete(self, request):
        name, prompt = self._prompt(request)
        if prompt["versions"]:
            raise invalid(f"Cannot delete prompt '{name}' because it still has undeleted versions.")
        del self.prompts[name]
        return {}

    async def _tag(self, request):
        _, prompt = self._prompt(request)
        body = await request.json()
        prompt["tags"][body["key"]] = body.get("value", "")
        return {}

    async def _untag(self, request):
        _, prompt = self._prompt(request)
        prompt["tags"].pop(request.match_info["key"], None)
        return {}

    async def _create_version(self, request):
        name, prompt = self._prompt(request)
        given = (await request.json())["prompt_version"]
        prompt["last"] += 1
        number = str(prompt["last"])
        tags = {tag["key"]: tag.get("value", "") for tag in given.get("tags", [])}
        made = {"version": number, "template": given["template"], "description": given.get("description", "")}
        prompt["versions"][number] = made | {"tags": tags, "at": _now()}
        return _shown_version(name, prompt, prompt["versions"][number])

    async def _search_versions(self, request):
        name, prompt = self._prompt(request)
        versions = sorted(prompt["versions"].values(), key=lambda version: -int(version["version"]))
        return {"prompt_versions": [_shown_version(name, prompt, version) for version in versions]}

    async def _get_version(self, request):
        return _shown_version(*self._version(request))

    async def _by_alias(self, request):
        name, prompt = self._prompt(request)
        alias = request.match_info["alias"]
        if alias not in prompt["aliases"]:
            raise missing(f"Alias '{alias}' of prompt '{name}' does not exist.")
        return _shown_version(*self._version(request, prompt["aliases"][alias]))

    async def _delete_version(self, request):
        _, prompt, version = self._version(request)
        prompt["aliases"] = {a: v for a, v in prompt["aliases"].items() if v != version["version"]}
        del prompt["versions"][version["version"]]
        return {}

    async def _tag_version(self, request):
        version = self._version(request)[2]
        body = await request.json()
        version["tags"][body["key"]] = body.get("value", "")
        return {}

    async def _untag_version(self, request):
        self._version(request)[2]["tags"].pop(request.match_info["key"], None)
        return {}

    async def _alias(self, request):
        number = str((await request.json())["version"])
        _, prompt, _ = self._version(request, number)
        prompt["aliases"][request.match_info["alias"]] = number
        return {}

    async def _unalias(self, request):
        _, prompt = self._prompt(request)
        prompt["aliases"].pop(request.match_info["alias"], None)
        return {}


async def _nothing(_):
    return {}


def _now():
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _listed(tags):
    return [{"key": key, "value": value} for key, value in tags.items()]


def _shown(name, prompt):
    aliases = [{"alias": alias, "version": version} for alias, version in prompt["aliases"].items()]
    shown = {"name": name, "description": prompt["description"], "creation_timestamp": prompt["at"]}
    return shown | {"aliases": aliases, "tags": _listed(prompt["tags"])}


def _shown_version(name, prompt, version):
    aliases = [{"alias": a, "version": v} for a, v in prompt["aliases"].items() if v == version["version"]]
    shown = {"name": name, "creation_timestamp": version["at"], "aliases": aliases, "tags": _listed(version["tags"])}
    return shown | {key: version[key] for key in ("version", "template", "description")}
