//! Clients that others wrote, unchanged, through Drape: each does its ordinary work and is shown what policy shows.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use drape_conformance::child::run;
use drape_conformance::fault::check;
use drape_conformance::places::{existing, root, setting};
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;

use crate::leaks::canaries;
use crate::world::{World, texts};

/// As one who is shown everything, and as the doctor.
const PERSONAS: [Persona; 2] = [Persona::RecordsOfficer, Persona::Doctor];

const DONE_WITHIN: Duration = Duration::from_secs(120);

/// Does a client's work as each persona. What it was shown must hold the patient, and nothing that is hidden.
fn work(world: &World, name: &str, command: impl Fn() -> Command) -> Outcome {
    for persona in PERSONAS {
        // How many patients she should find: all, or those whom she has to do with.
        let expected = match persona {
            Persona::RecordsOfficer => world.held["Patient"].len(),
            _ => world.related[&persona].len(),
        };
        let received = world.work.join(format!("{name}-{}.received", persona.word()));
        let mut command = command();
        command
            .env("BASE", &world.drape.base)
            .env("TOKEN", world.token(persona))
            .env("PERSONA", persona.word())
            .env("LEAD", &world.lead)
            .env("PATIENTS", expected.to_string())
            .env("STRANGER", &world.stranger)
            .env("RECEIVED", &received);
        let ran = run(&mut command, DONE_WITHIN)?;
        if ran.code != Some(0) {
            return Err(Fault(format!("{name} as {}: {}{}", persona.word(), ran.out, ran.err)));
        }
        let text =
            std::fs::read_to_string(&received).map_err(|e| Fault(format!("{name} shows nothing: {e}")))?;
        let family = texts(world.patient(&world.lead)?, "name.*.family");
        let known = family.iter().chain([&world.lead]);
        for word in known {
            check(text.contains(word.as_str()), || format!("{name} was not shown `{word}`"))?;
        }
        if persona == Persona::RecordsOfficer {
            // Who is shown everything is shown the stranger too, so the absence below means something.
            check(text.contains(&world.stranger), || format!("{name} was not shown the stranger"))?;
            continue;
        }
        for hidden in canaries(world, persona) {
            check(!text.contains(&hidden), || format!("{name} was shown `{hidden}`"))?;
        }
    }
    Ok(())
}

fn python(world: &World, name: &str, script: &str) -> Outcome {
    let python = setting("DRAPE_PYTHON").map_or_else(|| root().join("target/venv/bin/python"), PathBuf::from);
    let python = existing(python, "`conformance/run` makes it")?;
    work(world, name, || {
        let mut command = Command::new(&python);
        command.arg(root().join("conformance/clients").join(script));
        command
    })
}

fn node(world: &World, name: &str, script: &str) -> Outcome {
    work(world, name, || {
        let mut command = Command::new("node");
        command.arg(root().join("conformance/clients").join(script));
        command
    })
}

pub(crate) fn fhirpy(world: &World) -> Outcome {
    python(world, "fhirpy", "fhirpy_work.py")
}

pub(crate) fn python_fhirclient(world: &World) -> Outcome {
    python(world, "python-fhirclient", "smart_work.py")
}

pub(crate) fn pyrate(world: &World) -> Outcome {
    python(world, "fhir-pyrate", "pyrate_work.py")
}

pub(crate) fn kit(world: &World) -> Outcome {
    node(world, "fhir-kit-client", "kit_work.mjs")
}

pub(crate) fn smart(world: &World) -> Outcome {
    node(world, "fhirclient", "smart_work.mjs")
}

pub(crate) fn medplum(world: &World) -> Outcome {
    node(world, "medplum-core", "medplum_work.mjs")
}

pub(crate) fn java(world: &World) -> Outcome {
    work(world, "hapi-client", || world.hapi.java("client.Main"))
}
