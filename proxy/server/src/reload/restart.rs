//! Which changes of a configuration are read at the start alone: they are named, never passed over in silence.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::config::Config;

/// Keys of a tenant on which keys, links and pseudonyms hang.
const OF_TENANT: [&str; 3] = ["public_base_url", "project", "audit"];

/// The keys that differ and need a restart. What is written differently counts as different.
pub(super) fn needed(before: &Config, now: &Config) -> Vec<String> {
    let (before, now) = (&before.origin.document, &now.origin.document);
    let mut found = Vec::new();
    for key in keys(before, now) {
        match key {
            "tenants" => tenants(&before[key], &now[key], &mut found),
            // Another certificate is taken up; that there is one at all is decided at the start.
            "listen" | "admin" => {
                sections(key, &without_files(&before[key]), &without_files(&now[key]), &mut found)
            }
            _ => sections(key, &before[key], &now[key], &mut found),
        }
    }
    found
}

fn keys<'a>(a: &'a Value, b: &'a Value) -> BTreeSet<&'a str> {
    [a, b].into_iter().filter_map(Value::as_object).flat_map(|o| o.keys().map(String::as_str)).collect()
}

fn sections(name: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    if before == now {
        return;
    }
    match (before.is_object(), now.is_object()) {
        (true, true) => {
            let differ = keys(before, now).into_iter().filter(|key| before[*key] != now[*key]);
            found.extend(differ.map(|key| format!("{name}.{key}")));
        }
        _ => found.push(name.to_owned()),
    }
}

fn without_files(section: &Value) -> Value {
    let mut section = section.clone();
    if let Some(tls) = section.get_mut("tls").filter(|tls| !tls.is_null()) {
        *tls = Value::Bool(true);
    }
    section
}

fn tenants(before: &Value, now: &Value, found: &mut Vec<String>) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (before, now) = (list(before), list(now));
    let named = |all: &[Value], name: &Value| all.iter().find(|t| t["name"] == *name).cloned();
    for tenant in &before {
        let name = tenant["name"].as_str().unwrap_or_default();
        let Some(next) = named(&now, &tenant["name"]) else {
            found.push(format!("tenants: `{name}` is gone"));
            continue;
        };
        let differ = OF_TENANT.into_iter().filter(|key| tenant[*key] != next[*key]);
        found.extend(differ.map(|key| format!("tenants: {key} of `{name}`")));
        if tenant["upstream"]["base_url"] != next["upstream"]["base_url"] {
            found.push(format!("tenants: upstream.base_url of `{name}`"));
        }
    }
    for tenant in &now {
        if named(&before, &tenant["name"]).is_none() {
            found.push(format!("tenants: `{}` is new", tenant["name"].as_str().unwrap_or_default()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const GOOD: &str = r#"
listen: { address: "127.0.0.1:8080", tls: { certificate_file: a, key_file: b } }
admin: { address: "127.0.0.1:9090", plaintext: true }
keys: { root_file: root.key, directory: keys }
audit: { directory: log, origin: drape.example.org/audit, signing_key_file: log.key }
tenants:
  - name: main
    public_base_url: http://localhost:8080/fhir
    time_zone: America/New_York
    upstream: { base_url: "http://127.0.0.1:8090/fhir", plaintext: true, auth: { kind: none } }
    issuers: [{ issuer: "https://issuer.example.org", purposes: { TREAT: [clinician] } }]
    policies: { set: hospital }
limits: { page_lifetime_ms: 1000 }
"#;

    #[test]
    fn what_is_read_at_the_start_alone_is_named_and_what_is_taken_up_is_not() {
        let read = |text: &str| Config::parse(text, Path::new("/")).unwrap_or_else(|e| panic!("{e}"));
        let before = read(GOOD);
        let told = |from: &str, to: &str| needed(&before, &read(&GOOD.replace(from, to)));
        for (from, to, expected) in [
            ("8080\", tls", "8081\", tls", "listen.address"),
            ("tls: { certificate_file: a, key_file: b }", "plaintext: true", "listen.plaintext"),
            ("directory: keys", "directory: other", "keys.directory"),
            ("page_lifetime_ms: 1000", "page_lifetime_ms: 2000", "limits.page_lifetime_ms"),
            ("8090/fhir", "8091/fhir", "tenants: upstream.base_url of `main`"),
            ("time_zone", "project: other\n    time_zone", "tenants: project of `main`"),
            ("name: main", "name: other", "tenants: `main` is gone"),
            (
                "time_zone",
                "audit: { directory: log2, origin: a.example.org/2, signing_key_file: k2 }\n    time_zone",
                "tenants: audit of `main`",
            ),
            ("limits:", "reload: { tests: false }\nlimits:", "reload"),
        ] {
            let found = told(from, to);
            assert!(found.iter().any(|f| f == expected), "{expected} not in {found:?}");
        }
        for (from, to) in [
            ("certificate_file: a", "certificate_file: c"),
            ("America/New_York", "Europe/Berlin"),
            ("TREAT: [clinician]", "TREAT: [nurse]"),
            ("kind: none", "kind: caller-token"),
            ("set: hospital", "directory: ours"),
        ] {
            assert_eq!(told(from, to), Vec::<String>::new(), "{to}");
        }
    }
}
