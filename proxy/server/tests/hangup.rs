//! SIGHUP makes a proxy look at its files. A signal is the whole process's, so this test has one of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::time::Duration;

use common::*;

#[tokio::test(flavor = "multi_thread")]
async fn sighup_is_enough_where_nothing_is_watched() {
    let policy = r#"@id("one") permit (principal in Role::"clinician", action == Action::"read", resource);"#;
    let more = "reload: { interval_ms: 0 }";
    let house = House::with(Wishes { policy: Some(policy), more, ..Wishes::default() }).await;
    let digest = || house.running.parts.tenants()[0].policy_digest.clone();
    let before = digest();
    let changed = policy.replace("clinician", "nurse");
    std::fs::write(house.folder.path().join("policies/a.cedar"), changed).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(digest(), before, "nobody looks");
    let pid = std::process::id().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    for _ in 0..400 {
        if digest() != before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("not taken up within ten seconds");
}
