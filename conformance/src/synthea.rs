//! Loads Synthea patients into a FHIR server: from a folder of sample data where present, else generated anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::run;
use crate::hapi::Hapi;
use crate::{Fault, Outcome, places};

/// How many patients are loaded.
const PATIENTS: usize = 6;

const GENERATED_WITHIN: Duration = Duration::from_secs(900);

/// Loads some patients, unless the server has patients already. Says where they come from.
pub fn load(hapi: &Hapi, work: &Path) -> Outcome<String> {
    if !hapi.all("Patient?_summary=true")?.is_empty() {
        return Ok("the server's own patients, found there".to_owned());
    }
    let ready_made = places::shared().map(|s| s.join("data/synthea/r4-transactions")).filter(|f| f.is_dir());
    let (folder, source) = match ready_made {
        Some(folder) => (folder, "ready-made Synthea patients of the sample data".to_owned()),
        None => (generate(work)?, "Synthea patients generated now, since there is no sample data".to_owned()),
    };
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.ends_with(".json") || name.ends_with(".json.gz") {
            // Places and staff come first, then the smallest patients: they are enough, and soon loaded.
            let first = name.starts_with("hospital") || name.starts_with("practitioner");
            files.push((if first { 0 } else { path.metadata()?.len() }, path));
        }
    }
    files.sort();
    let staff = files.iter().filter(|(size, _)| *size == 0).count();
    if files.len() == staff {
        return Err(Fault(format!("`{}` holds no patients", folder.display())));
    }
    for (_, file) in files.iter().take(staff + PATIENTS) {
        let bundle = if file.extension().is_some_and(|e| e == "gz") {
            let mut gunzip = Command::new("gunzip");
            let ran = run(gunzip.arg("-c").arg(file), Duration::from_secs(60))?;
            if ran.code != Some(0) {
                return Err(Fault(format!("cannot unpack `{}`: {}", file.display(), ran.err)));
            }
            ran.out.into_bytes()
        } else {
            std::fs::read(file)?
        };
        hapi.transaction(&bundle).map_err(|e| Fault(format!("{}: {e}", file.display())))?;
    }
    Ok(source)
}

fn generate(work: &Path) -> Outcome<PathBuf> {
    let out = work.join("synthea");
    let mut command = Command::new(places::root().join("conformance/upstreams/synthea/generate.sh"));
    let ran = run(command.arg(&out).arg(PATIENTS.to_string()).arg("7"), GENERATED_WITHIN)?;
    if ran.code == Some(0) {
        Ok(out.join("fhir"))
    } else {
        Err(Fault(format!("Synthea failed: {}", ran.err)))
    }
}
