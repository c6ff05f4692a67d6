use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use drape_fhir::interaction;
use drape_view::{Environment, Proof, Relation};

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::parts::{Parts, init};
use crate::stages::classify::Return;

const CONFIG: &str = r#"
listen: { address: "127.0.0.1:0", plaintext: true }
admin: { address: "127.0.0.1:0", plaintext: true }
keys: { root_file: root.key, directory: keys }
audit: { directory: log, origin: drape.example.org/audit, signing_key_file: log.key }
tenants:
  - name: main
    public_base_url: http://localhost/fhir
    time_zone: UTC
    upstream: { base_url: "http://127.0.0.1:1/fhir", plaintext: true, auth: { kind: none } }
    issuers:
      - { issuer: "http://127.0.0.1:1", plaintext: true, smart_scopes: false, purposes: { TREAT: [clinician] } }
    policies: { set: hospital }
"#;

fn parts(folder: &Path) -> Parts {
    let config = Config::parse(CONFIG, folder).unwrap();
    let clock = Clock::fixed(1_800_000_000_000).0;
    init(&config, &clock).unwrap();
    Parts::open(config, clock).unwrap()
}

fn caller(role: &str) -> Caller {
    let related = Relation { is: ["guardian".to_owned(), "treating".to_owned()].into(), birth_date: None };
    Caller {
        issuer: "http://127.0.0.1:1".into(),
        subject: "s".into(),
        name: None,
        roles: [role.to_owned()].into(),
        held_roles: [role.to_owned()].into(),
        organization: None,
        departments: BTreeSet::new(),
        title: None,
        client: None,
        shift: None,
        fhir_user: None,
        patient: None,
        scopes: Vec::new(),
        relations: [("p1".to_owned(), related)].into(),
        purpose: "TREAT".into(),
        statement: Default::default(),
        proof: Proof { token_id: None, token_digest: [0; 32], expires_at: 2_000_000_000 },
        environment: Environment {
            now_ms: 1_800_000_000_000,
            today: "2027-01-15".into(),
            hour: 8,
            minute_of_day: 480,
            weekday: 5,
            network: None,
            break_glass: false,
        },
    }
}

/// What goes upstream for `GET target`.
fn sent(tenant: &Tenant, role: &str, target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let request = interaction::Parts { method: "GET", path, query, headers: &[], body: None };
    let interaction = interaction::parse(&request).unwrap();
    let classified = Classified {
        interaction,
        body: None,
        if_match: None,
        unless: Unless::default(),
        prefer: Return::Representation,
    };
    let admitted =
        Admitted { caller: Arc::new(caller(role)), token: zeroize::Zeroizing::new("t".to_owned()) };
    let asked = Asked {
        id: "1".into(),
        method: "GET".into(),
        route: "unknown",
        interaction: None,
        resource_type: None,
        target: target.to_owned(),
        peer: ([127, 0, 0, 1], 1).into(),
        format: Default::default(),
        witness: Default::default(),
    };
    match decide(tenant, &admitted, classified, &asked).unwrap().way {
        Way::Records(records) => records.request.path_and_query,
        other => panic!("{target}: {other:?}"),
    }
}

#[test]
fn records_come_whole_where_verdicts_depend_on_what_stands_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let parts = parts(folder.path());
    let tenant = &parts.tenants()[0].clone();
    for projection in
        ["_elements=text", "_elements=subject", "_summary=text", "_summary=true", "_summary=data"]
    {
        let search = format!("/Condition?patient=p1&{projection}");
        let read = format!("/Condition/c1?{projection}");
        for role in ["guardian", "clinician"] {
            assert_eq!(sent(tenant, role, &search), "/Condition?patient=p1", "{role} {search}");
            assert_eq!(sent(tenant, role, &read), "/Condition/c1", "{role} {read}");
        }
        // To whom everything is shown nothing can be hidden by leaving something out.
        assert_eq!(sent(tenant, "records-officer", &search), search);
        assert_eq!(sent(tenant, "records-officer", &read), read);
    }
}

#[test]
fn what_a_tenant_holds_prints_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let parts = parts(folder.path());
    let tenant = &parts.tenants()[0].clone();
    let printed = format!("{tenant:?}");
    assert!(!printed.contains(&format!("{:?}", tenant.etag_secret.expose())), "the ETag secret prints");
    let admitted = Admitted {
        caller: Arc::new(caller("guardian")),
        token: zeroize::Zeroizing::new("very-secret".to_owned()),
    };
    assert!(!format!("{admitted:?}").contains("very-secret"));
}
