//! What stands in config/, docs/ and charts/ is true: every example loads, every name that is mentioned exists.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use drape_caller::ClaimNames;
use drape_policy::PolicySet;
use drape_policy::guarantees::Guarantees;
use drape_server::config::Config;
use drape_view::category::GROUPS;
use drape_view::{Category, Treatments};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All files below `folder` with one of these endings.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(folder)];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", "node_modules"].contains(&name.as_str()) {
                    todo.push(path);
                }
            } else if endings.iter().any(|e| name.ends_with(e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What people read: docs/*.md, and the documents at the top where they are present.
fn documents() -> Vec<PathBuf> {
    let top = ["README.md", "CHANGELOG.md"].map(|name| root().join(name));
    files("docs", &[".md"]).into_iter().chain(top.into_iter().filter(|p| p.exists())).collect()
}

/// The fenced blocks of that language, each with the line it starts in.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, bool, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        open = match (open, fence) {
            (None, Some(info)) => Some((number + 1, info.trim() == language, String::new())),
            (None, None) => None,
            (Some((start, wanted, body)), Some(_)) => {
                if wanted {
                    found.push((start, body));
                }
                None
            }
            (Some((start, wanted, body)), None) => Some((start, wanted, body + line + "\n")),
        };
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

#[test]
fn every_example_configuration_loads_without_a_fault() {
    let examples = files("config", &[".yaml"]);
    assert!(examples.len() >= 3, "{examples:?}");
    for path in examples {
        if let Err(error) = Config::load(&path) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn the_example_for_hapi_names_every_key_there_is() {
    let text = read(&root().join("config/hapi.yaml"));
    // The reader knows its keys by name: each stands in the source between quotes, first among its arguments.
    let sources = ["mod.rs", "tenant.rs", "callers.rs"]
        .map(|f| read(&root().join("proxy/server/src/config").join(f)))
        .join("\n");
    let sources: String = sources.split_whitespace().collect();
    let readers = [
        "required(\"",
        "required_table(\"",
        "string(\"",
        "table(\"",
        "tables(\"",
        "flag(\"",
        "whole(\"",
        "millis(\"",
        "strings(\"",
        "pairs(\"",
        "lists(\"",
        "file(\"",
        "size(\"",
        "epsilon(\"",
        "set(\"",
        "url(&mutt,\"",
        "url(&mutu,\"",
    ];
    let mut keys = BTreeSet::new();
    for reader in readers {
        for rest in sources.split(reader).skip(1) {
            keys.insert(rest.split('"').next().unwrap_or_default());
        }
    }
    assert!(keys.len() > 60, "only {} keys were found: {keys:?}", keys.len());
    let missing: Vec<_> = keys.into_iter().filter(|key| !text.contains(&format!("{key}:"))).collect();
    assert!(missing.is_empty(), "config/hapi.yaml does not name {missing:?}");
}

#[test]
fn the_defaults_written_in_the_example_are_the_defaults() {
    let text = read(&root().join("config/hapi.yaml"));
    let written = Config::parse(&text, Path::new("")).unwrap();
    let bare = Config::parse(text.split("\nlimits:").next().unwrap(), Path::new("")).unwrap();
    assert_eq!(format!("{:?}", written.limits), format!("{:?}", bare.limits));
    assert_eq!(written.tenants[0].issuers[0].claims, ClaimNames::default());
}

#[test]
fn every_configuration_shown_in_a_document_loads() {
    for path in documents() {
        for (line, block) in blocks(&read(&path), "yaml") {
            if let Err(error) = Config::parse(&block, Path::new("")) {
                panic!("{}:{line}: {error}", path.display());
            }
        }
    }
}

#[test]
fn every_policy_shown_in_a_document_passes_the_check() {
    let treatments = Arc::new(Treatments::parse(drape_view::shipped::TREATMENTS).unwrap());
    for path in documents() {
        for (line, block) in blocks(&read(&path), "cedar") {
            if let Err(faults) = PolicySet::read(&[("shown.cedar", &block)], &treatments, &[]) {
                let all: Vec<_> = faults.iter().map(ToString::to_string).collect();
                panic!("{}:{line}: {}", path.display(), all.join("\n"));
            }
        }
    }
}

#[test]
fn every_guarantee_shown_in_a_document_can_be_read() {
    let mut shown = 0;
    for path in documents() {
        for (line, block) in blocks(&read(&path), "guarantees") {
            shown += 1;
            if let Err(faults) = Guarantees::parse("shown", &block) {
                let all: Vec<_> = faults.iter().map(ToString::to_string).collect();
                panic!("{}:{line}: {}", path.display(), all.join("\n"));
            }
        }
    }
    assert!(shown > 0, "no document shows any");
}

#[test]
fn every_policy_test_shown_in_a_document_can_be_read() {
    let beside = |_: &str| Ok(Some(r#"{"resourceType":"Patient","id":"p1"}"#.to_owned()));
    let mut shown = 0;
    for path in documents() {
        for (line, block) in blocks(&read(&path), "policy-tests") {
            shown += 1;
            if let Err(faults) = drape_server::workbench::testing::parse("shown", "shown", &block, beside) {
                let all: Vec<_> = faults.iter().map(ToString::to_string).collect();
                panic!("{}:{line}: {}", path.display(), all.join("\n"));
            }
        }
    }
    assert!(shown > 0, "no document shows any");
}

#[test]
fn the_architecture_lists_every_category_and_group() {
    let text = read(&root().join("docs/architecture.md"));
    let names = Category::ALL.into_iter().map(Category::name).chain(GROUPS.iter().map(|g| g.name));
    let missing: Vec<_> = names.filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/architecture.md does not name {missing:?}");
}

#[test]
fn the_threat_model_speaks_of_every_leak_of_the_catalogue_once() {
    let text = read(&root().join("docs/threat-model.md"));
    let rows: Vec<_> = text.lines().filter_map(|l| l.strip_prefix("| LV-")?.split(' ').next()).collect();
    let expected: Vec<_> = (1..=64).map(|n| format!("{n:02}")).collect();
    assert_eq!(rows, expected);
}

/// The numbers in the name of a leak-vector test: `lv_37_38_what_is_refused` has two.
fn vectors(name: &str) -> Vec<&str> {
    let Some(rest) = name.strip_prefix("lv_") else { return Vec::new() };
    rest.split('_').take_while(|word| word.len() == 2 && word.bytes().all(|b| b.is_ascii_digit())).collect()
}

#[test]
fn every_leak_of_the_catalogue_names_a_test_of_its_own_number() {
    let mut tests = BTreeSet::new();
    for folder in ["proxy", "conformance"] {
        for path in files(folder, &[".rs"]) {
            let text = read(&path);
            // A test and no helper: its attribute stands in the lines before it.
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (number, line) in lines.iter().enumerate() {
                let Some(name) = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ") else {
                    continue;
                };
                let name = name.split('(').next().unwrap_or_default();
                if !name.starts_with("lv_") {
                    continue;
                }
                let attributes = lines[..number].iter().rev().take_while(|l| l.starts_with("#["));
                let is_test =
                    attributes.clone().any(|l| l.starts_with("#[test]") || l.starts_with("#[tokio::test"));
                assert!(is_test, "{}: `{name}` is no test", path.display());
                tests.insert(name.to_owned());
            }
        }
    }
    let model = read(&root().join("docs/threat-model.md"));
    let mut missing = Vec::new();
    for row in model.lines().filter_map(|l| l.strip_prefix("| LV-")) {
        let number = row.split(' ').next().unwrap_or_default();
        let named: BTreeSet<&str> =
            row.split('`').skip(1).step_by(2).filter(|n| tests.contains(*n)).collect();
        if !named.iter().any(|name| vectors(name).contains(&number)) {
            missing.push(format!("LV-{number} names no test of its own"));
        }
        // And none is forgotten there.
        for name in
            tests.iter().filter(|name| vectors(name).contains(&number) && !named.contains(name.as_str()))
        {
            missing.push(format!("LV-{number} does not name `{name}`"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_policy_of_the_shipped_sets_is_told_in_plain_words() {
    let text = read(&root().join("docs/policies.md"));
    for set in drape_policy::shipped::SETS {
        for (name, source) in set.policies() {
            for id in source.split("@id(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let told = text.contains(&format!("`{id}`"));
                assert!(told, "docs/policies.md does not tell of `{id}` in {}/{name}", set.name);
            }
        }
    }
}

#[test]
fn every_file_of_a_shipped_set_is_compiled_in() {
    for set in drape_policy::shipped::SETS {
        let folder = format!("policies/{}", set.name);
        for path in files(&folder, &[""]) {
            let name = path.strip_prefix(root().join(&folder)).unwrap().to_string_lossy().into_owned();
            assert!(set.file(&name).is_some(), "{folder}/{name} stands in no list of shipped.rs");
        }
    }
}

/// Names that look like tests or metrics, and paths: what a document mentions must be there.
#[test]
fn every_test_and_file_that_a_document_mentions_exists() {
    let mut sources = String::new();
    for folder in ["proxy", "conformance"] {
        files(folder, &[".rs", ".py", ".mjs", ".sh"]).iter().for_each(|path| sources.push_str(&read(path)));
    }
    let mut missing = Vec::new();
    for path in documents() {
        // Fenced blocks hold commands and examples; the spans between single backticks are names.
        let mut fenced = false;
        for line in read(&path).lines() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced {
                continue;
            }
            for span in line.split('`').skip(1).step_by(2) {
                let snake = span.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                if snake && span.matches('_').count() >= 3 && !sources.contains(span) {
                    missing.push(format!("{}: `{span}`", path.display()));
                }
                let tops = ["proxy/", "policies/", "config/", "charts/", "conformance/", "docs/"];
                let plain = span.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
                if plain && tops.iter().any(|t| span.starts_with(t)) && !root().join(span).exists() {
                    missing.push(format!("{}: `{span}`", path.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "these do not exist:\n{}", missing.join("\n"));
}

/// The chart's own values under those of `over`, as Helm lays them.
fn merged(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (key, value) in over {
                let merged = merged(under.remove(&key).unwrap_or(Value::Null), value);
                under.insert(key, merged);
            }
            Value::Object(under)
        }
        (_, over) => over,
    }
}

#[test]
fn the_configuration_that_the_chart_makes_loads_and_fits_image_and_pod() {
    let yaml = |file: &str| -> Value {
        serde_saphyr::from_str(&read(&root().join("charts/drape").join(file)))
            .unwrap_or_else(|e| panic!("{file}: {e}"))
    };
    let values = merged(yaml("values.yaml"), yaml("ci/gateway-values.yaml"));
    let config = Config::parse(&values["config"].to_string(), Path::new("/etc/drape"))
        .unwrap_or_else(|e| panic!("{e}"));
    let data = Path::new("/var/lib/drape");
    let mut writable = vec![&config.keys.directory, &config.audit.directory];
    writable.extend(config.budgets.iter().map(|b| &b.ledger_file));
    for path in writable {
        assert!(path.starts_with(data), "{} is not on the volume", path.display());
    }
    for path in [&config.keys.root_file, &config.audit.signing_key_file] {
        assert!(path.starts_with("/etc/drape"), "{} is not among the mounted secrets", path.display());
    }
    let image = read(&root().join("Dockerfile"));
    for expected in [
        "USER 65532:65532".to_owned(),
        format!("EXPOSE {} {}", config.listen.address.port(), config.admin.listen.address.port()),
        format!("VOLUME [\"{}\"]", data.display()),
        "CMD [\"serve\", \"--config\", \"/etc/drape/drape.yaml\"]".to_owned(),
    ] {
        assert!(image.contains(&expected), "the Dockerfile has no `{expected}`");
    }
}

#[test]
fn everything_that_the_image_is_built_from_is_there_and_nothing_it_needs_is_left_out() {
    let ignored = read(&root().join(".dockerignore"));
    let mut copied = Vec::new();
    for line in read(&root().join("Dockerfile")).lines() {
        let Some(rest) = line.strip_prefix("COPY ").filter(|r| !r.starts_with("--from")) else { continue };
        let mut words: Vec<&str> = rest.split_whitespace().collect();
        words.pop();
        for source in words {
            assert!(root().join(source).exists(), "COPY {source}: it is not there");
            assert!(
                ignored.lines().any(|l| l == format!("!{source}")),
                "COPY {source}: .dockerignore leaves it out"
            );
            copied.push(source.to_owned());
        }
    }
    let covered = |path: &str| copied.iter().any(|c| path == c || path.starts_with(&format!("{c}/")));
    assert!(covered("Cargo.toml") && covered("Cargo.lock"));
    // Cargo reads every member's manifest, whatever is built.
    let workspace = read(&root().join("Cargo.toml"));
    let members = workspace.split("members = [").nth(1).and_then(|m| m.split(']').next()).unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(covered(&format!("{member}/Cargo.toml")), "the member {member} is not copied");
    }
    // Whatever is compiled in from outside the crates: `include_str!("../../../policies/…")`.
    for path in files("proxy", &[".rs"]) {
        for included in read(&path).split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next())
        {
            if let Some(outside) = included.strip_prefix("../../../") {
                assert!(covered(outside), "{} includes {outside}, which is not copied", path.display());
            }
        }
    }
}
