//! Clients that others wrote, unchanged, through Drape: fhirpy and fhir-kit-client do their ordinary work.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use drape_conformance::child::run;
use drape_conformance::places::{existing, root, setting};
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;

use crate::world::World;

fn script(world: &World, program: PathBuf, script: &str) -> Outcome {
    let script = root().join("conformance/clients").join(script);
    for persona in [Persona::RecordsOfficer, Persona::Doctor] {
        // How many patients she should find: all, or those whom she has to do with.
        let expected = match persona {
            Persona::RecordsOfficer => world.held["Patient"].len(),
            _ => world.related[&persona].len(),
        };
        let mut command = Command::new(&program);
        command
            .arg(&script)
            .env("BASE", &world.drape.base)
            .env("TOKEN", world.token(persona))
            .env("PERSONA", persona.word())
            .env("LEAD", &world.lead)
            .env("PATIENTS", expected.to_string());
        let ran = run(&mut command, Duration::from_secs(120))?;
        if ran.code != Some(0) {
            return Err(Fault(format!("{} as {}: {}{}", script.display(), persona.word(), ran.out, ran.err)));
        }
    }
    Ok(())
}

pub(crate) fn fhirpy(world: &World) -> Outcome {
    let python = setting("DRAPE_PYTHON").map_or_else(|| root().join("target/venv/bin/python"), PathBuf::from);
    script(world, existing(python, "`conformance/run` makes it")?, "fhirpy_work.py")
}

pub(crate) fn kit(world: &World) -> Outcome {
    script(world, PathBuf::from("node"), "kit_work.mjs")
}
