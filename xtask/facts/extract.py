#!/usr/bin/env python3
"""Extract the facts of Kubernetes v1.36 that Skiff's tables are made of.

    xtask/facts/extract.py --data DIR --kubernetes DIR --out crates/api/facts

DIR of --data holds openapi-v2-1.36.json, protobuf-fields-1.36.json and the two discovery documents; --kubernetes is a
checkout of kubernetes v1.36 (Go types say what OpenAPI leaves out: pointers, omitempty, types that are not published).
Only facts are written: names, types, numbers, flags; no sentences. It is run once per Kubernetes version by hand; the
build needs neither of its inputs.

types.json: definition name -> {"atomic"?, "gvk"?, "unpublished"?, "untyped"?, "fields": {json name -> field}}
field: {"type", "required"?, "list"?, "keys"?, "map"?, "mergeKey"?, "strategy"?, "default"?, "zeroDefault"?,
        "proto"? ("4" or "2.1" below an embedded message), "wrapped"?, "pointer"?, "keepEmpty"?, "go"?, "enum"?}
type:  bool int32 int64 double string bytes quantity intOrString time microTime duration fieldsV1 any
       #definition  []type  {}type
"""

import argparse
import base64
import glob
import hashlib
import json
import os
import re

SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intOrString",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microTime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Duration": "duration",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "fieldsV1",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": "any",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": "any",
}
PLAIN = {
    ("string", None): "string", ("string", "byte"): "bytes", ("integer", "int32"): "int32",
    ("integer", "int64"): "int64", ("boolean", None): "bool", ("number", "double"): "double",
}
GO_PLAIN = {
    "string": "string", "bool": "bool", "int32": "int32", "int64": "int64", "int": "int64", "float64": "double",
    "[]byte": "bytes", "any": "any", "interface{}": "any", "uint32": "int64", "rune": "int32",
}
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
CORE = "io.k8s.api.core.v1."
# Kinds that are decoded or encoded but not published in OpenAPI.
UNPUBLISHED_ROOTS = [META + n for n in (
    "CreateOptions", "UpdateOptions", "PatchOptions", "GetOptions", "ListOptions", "TableOptions", "Table", "List",
    "PartialObjectMetadata", "PartialObjectMetadataList", "RootPaths")] + [CORE + n for n in (
    "PodLogOptions", "PodExecOptions", "PodAttachOptions", "PodPortForwardOptions", "PodProxyOptions",
    "NodeProxyOptions", "ServiceProxyOptions", "RangeAllocation", "SerializedReference", "PodStatusResult", "List")] + [
    "io.k8s.api.admission.v1.AdmissionReview",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ConversionReview",
    "io.k8s.api.apidiscovery.v2.APIGroupDiscoveryList",
    "io.k8s.apiserver.pkg.apis.audit.v1.EventList",
    "io.k8s.apiserver.pkg.apis.audit.v1.Policy",
]


def squash(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


def proto_name(definition):
    return definition.replace("io.k8s.", "k8s.io.", 1).replace("-", "_")


class Go:
    """Struct definitions of Go packages, read with regular expressions: enough for API types."""

    def __init__(self, root):
        self.root = root
        self.packages = {}

    def package(self, path):
        if path in self.packages:
            return self.packages[path]
        structs, named = {}, {}
        for file in sorted(glob.glob(os.path.join(self.root, "staging/src", path, "*.go"))):
            if file.endswith("_test.go") or os.path.basename(file).startswith("zz_") or file.endswith(".pb.go"):
                continue
            text = open(file).read()
            text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
            imports = {}
            for block in re.findall(r"^import \((.*?)^\)", text, re.S | re.M) + re.findall(r"^import (.*)$", text, re.M):
                for alias, target in re.findall(r'^\s*(\w+)?\s*"([^"]+)"', block, re.M):
                    imports[alias or target.rsplit("/", 1)[-1]] = target
            for match in re.finditer(r"^(?:type )?\s?(\w+) struct \{\n(.*?)^\s?\}", text, re.S | re.M):
                structs[match.group(1)] = self.fields(match.group(2), path, imports)
            text = re.sub(r"//.*", "", text)
            for name, target in re.findall(r"^type (\w+) =? ?([\w\.\[\]\*\{\}]+)\s*$", text, re.M):
                if target != "struct":
                    named[name] = (target, path, imports)
        self.packages[path] = (structs, named)
        return self.packages[path]

    @staticmethod
    def fields(body, path, imports):
        fields = []
        for line in body.splitlines():
            line = line.strip()
            match = re.match(r"^(?:(\w+)\s+)?([\w\.\[\]\*\{\}]+)\s*`(.*)`", line)
            if line.startswith("//") or not match:
                continue
            name, kind, tags = match.groups()
            tags = dict(re.findall(r'(\w+):"([^"]*)"', tags))
            if "json" not in tags:
                continue
            json_name, *options = tags["json"].split(",")
            if json_name == "-":
                continue
            fields.append({"go": name or kind.rsplit(".", 1)[-1].lstrip("*"), "kind": kind, "json": json_name,
                           "options": options, "tags": tags, "path": path, "imports": imports})
        return fields

    @staticmethod
    def package_of(definition):
        stem = definition.rsplit(".", 1)[0]
        for prefix, target in (("io.k8s.api.", "k8s.io/api/"), ("io.k8s.apimachinery.", "k8s.io/apimachinery/"),
                               ("io.k8s.apiextensions-apiserver.", "k8s.io/apiextensions-apiserver/"),
                               ("io.k8s.kube-aggregator.", "k8s.io/kube-aggregator/"),
                               ("io.k8s.apiserver.", "k8s.io/apiserver/")):
            if stem.startswith(prefix):
                return target + stem[len(prefix):].replace(".", "/")
        raise KeyError(definition)

    @staticmethod
    def definition(path, name):
        return "io.k8s." + path.removeprefix("k8s.io/").replace("/", ".") + "." + name

    def struct(self, definition):
        structs, named = self.package(self.package_of(definition))
        name = definition.rsplit(".", 1)[1]
        if name not in structs and name in named:
            target, path, imports = named[name]
            return self.struct(self.resolve_name(target, {"path": path, "imports": imports}))
        return structs.get(name)

    def flat(self, definition):
        """json name -> field, embedded structs flattened."""
        result = {}
        for field in self.struct(definition) or []:
            if field["json"] == "" and "inline" in field["options"]:
                result.update(self.flat(self.resolve_name(field["kind"].lstrip("*"), field)))
            elif field["json"] == "" and field["kind"][0].isupper():
                result.update(self.flat(self.resolve_name(field["kind"], field)))
            else:
                result[field["json"]] = field
        return result

    def resolve_name(self, kind, where):
        if "." in kind:
            alias, name = kind.split(".")
            return self.definition(where["imports"][alias], name)
        return self.definition(where["path"], kind)

    def type(self, kind, where):
        """Go type expression -> (type expression of ours, definitions used)."""
        if kind.startswith("*"):
            return self.type(kind[1:], where)
        if kind in GO_PLAIN:
            return GO_PLAIN[kind], set()
        if kind.startswith("[]"):
            inner, used = self.type(kind[2:], where)
            return "[]" + inner, used
        if kind.startswith("map["):
            inner, used = self.type(kind[kind.index("]") + 1:], where)
            return "{}" + inner, used
        definition = self.resolve_name(kind, where)
        if definition in SCALARS:
            return SCALARS[definition], set()
        if definition == "io.k8s.apimachinery.pkg.runtime.Object":
            return "any", set()
        if definition.startswith("io.k8s.apimachinery.pkg.types.") and definition.endswith(("UID", "NodeName", "PatchType")):
            return "string", set()
        path, name = self.package_of(definition), definition.rsplit(".", 1)[1]
        structs, named = self.package(path)
        if name in structs:
            return "#" + definition, {definition}
        target, at, imports = named[name]
        return self.type(target, {"path": at, "imports": imports})


def openapi_type(schema, go=None):
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return SCALARS.get(name, "#" + name)
    kind = schema.get("type")
    if kind == "array":
        return "[]" + openapi_type(schema["items"])
    if kind == "object":
        return "{}" + openapi_type(schema["additionalProperties"]) if "additionalProperties" in schema else "any"
    if kind is None:
        return "any"
    return PLAIN[(kind, schema.get("format"))]


def proto_paths(messages, message, published, prefix=()):
    """squashed json name -> (number path, type, label), embedded messages flattened."""
    result = {}
    for number, name, kind, label in messages.get(message, []):
        path = prefix + (number,)
        if squash(name) in published or kind not in messages:
            result[squash(name)] = (path, kind, label)
        else:
            result.update(proto_paths(messages, kind, published, path))
    return result


def type_facts(openapi, messages, go, defaults):
    types = {}
    for name, schema in openapi["definitions"].items():
        if name in SCALARS or name.endswith((".version.Info", ".meta.v1.Patch")):
            continue
        entry = {"fields": {}}
        if schema.get("x-kubernetes-map-type") == "atomic":
            entry["atomic"] = True
        if "x-kubernetes-group-version-kind" in schema:
            entry["gvk"] = [[g["group"], g["version"], g["kind"]] for g in schema["x-kubernetes-group-version-kind"]]
        if "x-kubernetes-unions" in schema:
            entry["unions"] = schema["x-kubernetes-unions"]
        for field, spec in schema.get("properties", {}).items():
            fact = {"type": openapi_type(spec)}
            if field in schema.get("required", []):
                fact["required"] = True
            for key, ours in (("x-kubernetes-list-type", "list"), ("x-kubernetes-list-map-keys", "keys"),
                              ("x-kubernetes-map-type", "map"), ("x-kubernetes-patch-merge-key", "mergeKey"),
                              ("x-kubernetes-patch-strategy", "strategy")):
                if key in spec:
                    fact[ours] = spec[key]
            value = defaults.get((name, field))
            if value is not None:
                fact["schemaDefault"] = value
            entry["fields"][field] = fact
        types[name] = entry
    # Types that are not published, from Go.
    todo = list(UNPUBLISHED_ROOTS)
    while todo:
        name = todo.pop()
        if name in types:
            continue
        entry = {"unpublished": True, "fields": {}}
        for field, spec in go.flat(name).items():
            kind, used = go.type(spec["kind"], spec)
            entry["fields"][field] = {"type": kind}
            todo.extend(used)
        types[name] = entry
    for name, entry in types.items():
        add_wire(name, entry, types, messages, go)
    return types


def add_wire(name, entry, types, messages, go):
    flat = go.flat(name)
    published = {squash(f) for f in entry["fields"]}
    paths = proto_paths(messages, proto_name(name), published)
    for field, fact in entry["fields"].items():
        if squash(field) in paths:
            path, kind, _ = paths[squash(field)]
            fact["proto"] = ".".join(map(str, path))
            if kind.endswith((".ExtraValue>", ".Verbs")):
                fact["wrapped"] = "items"
            for suffix, ours in (("OrArray", "schemaOrArray"), ("OrBool", "schemaOrBool"),
                                 ("OrStringArray", "schemaOrStringArray")):
                if kind.rstrip(">").endswith("JSONSchemaProps" + suffix):
                    fact["wrapped"] = ours
        spec = flat.get(field)
        if spec is None:
            if field not in ("apiVersion", "kind"):
                raise SystemExit(f"{name}.{field} is not in the Go types")
            continue
        if spec["kind"].startswith("*"):
            fact["pointer"] = True
        if not {"omitempty", "omitzero"} & set(spec["options"]):
            fact["keepEmpty"] = True
        elif "omitzero" in spec["options"]:
            fact["omitZero"] = True
        kind = go_name(spec)
        if kind:
            fact["go"] = kind
        default = fact.pop("schemaDefault", None)
        if default is not None:
            if default in ({}, "", 0, False) and not fact.get("pointer"):
                fact["zeroDefault"] = True
            else:
                fact["default"] = default


def go_name(spec):
    """The Go type as error messages print it, where it is a named scalar."""
    kind = spec["kind"].lstrip("*")
    while kind.startswith("[]") and kind != "[]byte":
        kind = kind[2:].lstrip("*")
    if kind in GO_PLAIN or kind.startswith("map["):
        return None
    if "." not in kind:
        kind = spec["path"].rsplit("/", 1)[-1] + "." + kind
    else:
        alias, rest = kind.split(".")
        kind = spec["imports"][alias].rsplit("/", 1)[-1] + "." + rest
    return kind


def storage_hash(group, version, kind):
    return base64.b64encode(hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()[:8]).decode()


def resource_facts(core, aggregated, kubernetes, types):
    by_gvk = {}
    for name, entry in types.items():
        for group, version, kind in entry.get("gvk", []):
            by_gvk[(group, version, kind)] = name
    groups = [("", [("v1", None)])]
    groups += [(g["metadata"]["name"], [(v["version"], v) for v in g["versions"]]) for g in aggregated["items"]]
    all_versions = {group: [v for v, _ in versions] for group, versions in groups}
    result = []
    for group, versions in groups:
        entry = {"group": group, "versions": []}
        for version, _ in versions:
            file = "api__v1.json" if not group else f"apis__{group}__{version}.json"
            listing = json.load(open(os.path.join(kubernetes, "api/discovery", file)))
            resources = []
            for item in listing["resources"]:
                parent, _, sub = item["name"].partition("/")
                kind = [item.get("group", group), item.get("version", version), item["kind"]]
                fact = {"name": item["name"], "kind": item["kind"], "verbs": item["verbs"],
                        "definition": by_gvk[tuple(kind)] if tuple(kind) in by_gvk else None}
                if "group" in item or "version" in item:
                    fact["kindGroupVersion"] = kind[:2]
                if not item["namespaced"]:
                    fact["cluster"] = True
                if not sub:
                    fact["singular"] = item["singularName"]
                for key in ("shortNames", "categories", "storageVersionHash"):
                    if key in item:
                        fact[key] = item[key]
                if "storageVersionHash" in item:
                    candidates = [(group, v) for v in all_versions[group]] + [("", "v1"), ("extensions", "v1beta1")]
                    found = [c for c in candidates if storage_hash(*c, item["kind"]) == item["storageVersionHash"]]
                    if found and list(found[0]) != [group, version]:
                        fact["storage"] = list(found[0])
                    elif not found:
                        print("no storage version for", group, version, item["name"])
                listkind = by_gvk.get((group, version, item["kind"] + "List"))
                if listkind and not sub:
                    fact["list"] = item["kind"] + "List"
                resources.append(fact)
            entry["versions"].append({"version": version, "resources": resources})
        result.append(entry)
    return result


def one_per_line(value, indent=0):
    """JSON with one line per type or resource, so that a new Kubernetes version reads well as a diff."""
    pad = " " * indent
    if isinstance(value, dict) and indent < 3:
        rows = [f"{pad} {json.dumps(k)}: {one_per_line(v, indent + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{pad}}}" if rows else "{}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"{pad} {one_per_line(v, indent + 1)}" for v in value) + f"\n{pad}]"
    return json.dumps(value, separators=(",", ":"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--kubernetes", required=True)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    load = lambda name: json.load(open(os.path.join(args.data, name)))
    defaults = {}
    for file in glob.glob(os.path.join(args.kubernetes, "api/openapi-spec/v3/*.json")):
        for name, schema in json.load(open(file))["components"].get("schemas", {}).items():
            for field, spec in schema.get("properties", {}).items():
                if "default" in spec:
                    defaults[(name, field)] = spec["default"]
    types = type_facts(load("openapi-v2-1.36.json"), load("protobuf-fields-1.36.json")["messages"],
                       Go(args.kubernetes), defaults)
    resources = resource_facts(load("discovery-core-v1-1.36.json"), load("discovery-aggregated-v2-1.36.json"),
                               args.kubernetes, types)
    os.makedirs(args.out, exist_ok=True)
    with open(os.path.join(args.out, "types.json"), "w") as out:
        out.write(one_per_line(dict(sorted(types.items()))) + "\n")
    with open(os.path.join(args.out, "resources.json"), "w") as out:
        out.write(json.dumps(resources, indent=None, separators=(",", ":")).replace('{"name"', '\n  {"name"')
                  .replace('{"version"', '\n {"version"').replace('{"group":', '\n{"group":') + "\n")


main()
