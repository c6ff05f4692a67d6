//! The README's first command in front of somebody else's server: the tour before HAPI, with relations from its data.

use std::process::Command;
use std::time::Duration;

use drape_conformance::child::run;
use drape_conformance::fault::Faults;
use drape_conformance::{Outcome, fault};

use crate::world::{World, subject};

/// A debug build looks through every page of the patients as a researcher.
const PLAYED_WITHIN: Duration = Duration::from_secs(180);

pub(crate) fn tour(world: &World) -> Outcome {
    let mut command = Command::new(subject());
    command.args(["demo", "--once", "--upstream", &world.hapi.base]);
    let ran = run(&mut command, PLAYED_WITHIN)?;
    let mut faults = Faults::default();
    let said = || fault::short(&format!("{}{}", ran.out, ran.err), 4_000);
    faults.check(ran.code == Some(0), || format!("exit {:?}: {}", ran.code, said()));
    for expected in ["One patient, as different people see her", "Everything came out as it should."] {
        faults.check(ran.out.contains(expected), || format!("`{expected}` is not in {}", said()));
    }
    faults.outcome()
}
