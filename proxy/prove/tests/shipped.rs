//! Every set that ships keeps what it guarantees. Needs cvc5: without it nothing is proved, and in the suite that is a
//! failure.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on stops")]

mod common;

use drape_policy::shipped;
use drape_prove::Verdict;

#[test]
fn every_shipped_set_keeps_its_guarantees() {
    let Some(solver) = common::solver() else { return };
    for set in shipped::SETS {
        let text = set.file("guarantees.yaml").unwrap_or_else(|| panic!("{} guarantees nothing", set.name));
        let job =
            common::job(set.name, &set.policies().collect::<Vec<_>>(), set.file("treatments.yaml"), text);
        let proofs = drape_prove::prove(job, &solver, 2, &|_| true).unwrap();
        assert!(proofs.len() >= 3, "{}: {} guarantees", set.name, proofs.len());
        let broken = proofs.iter().filter(|p| !matches!(p.verdict, Verdict::Proved)).count();
        assert_eq!(broken, 0, "{}", drape_prove::text(set.name, &proofs));
    }
}

#[test]
fn the_hospital_guarantees_fail_without_the_policies_that_they_rest_on() {
    let Some(solver) = common::solver() else { return };
    let set = shipped::find("hospital").unwrap();
    for (policy, guarantee) in [
        ("research-never-direct", "researcher-never-identifies"),
        ("research-never-exact-dates", "researcher-no-exact-dates"),
        ("billing-nothing-sensitive", "billing-nothing-sensitive"),
        ("nurse-name-is-enough", "nurse-name-is-enough"),
        ("adolescent-confidential", "adolescents-keep-their-secrets"),
        ("part-2", "part-2"),
        ("vip", "very-important-persons"),
    ] {
        let without: Vec<(&str, String)> =
            set.policies().map(|(name, text)| (name, common::without(text, policy))).collect();
        let files: Vec<(&str, &str)> = without.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let job = common::job("hospital", &files, None, set.file("guarantees.yaml").unwrap());
        let proofs = drape_prove::prove(job, &solver, 2, &|id| id == guarantee).unwrap();
        // A refutation is only ever given with a state that Drape's own decision confirms.
        assert!(
            matches!(proofs[0].verdict, Verdict::Refuted(_)),
            "{guarantee} without {policy}: {}",
            drape_prove::text("hospital", &proofs)
        );
    }
}
