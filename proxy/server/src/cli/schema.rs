//! `drape schema`: the JSON Schema of each YAML file, for editors.

use std::path::PathBuf;
use std::process::ExitCode;

use drape_view::fault::known;

use super::{Failure, say};
use crate::schemas::SCHEMAS;

#[derive(Debug, clap::Args)]
#[command(after_help = "An editor with the YAML language server takes a schema from a first line such as\n\
                        # yaml-language-server: $schema=schemas/treatments.schema.json")]
pub(super) struct Arguments {
    /// Which; without a name they are listed.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Write it into this folder, or all of them where none is named.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

/// Lists, prints or writes.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let meant = arguments.name.as_deref();
    // `treatments.yaml` is meant as plainly as `treatments`.
    let meant =
        meant.map(|name| name.strip_suffix(".yaml").or(name.strip_suffix(".schema.json")).unwrap_or(name));
    let chosen: Vec<_> =
        SCHEMAS.iter().filter(|schema| meant.is_none_or(|name| schema.name == name)).collect();
    if let (Some(name), true) = (meant, chosen.is_empty()) {
        let help = known(name, SCHEMAS.iter().map(|schema| schema.name));
        return Err(Failure::new(format!("there is no schema `{name}`\n  help: {help}")));
    }
    match (&arguments.write, meant) {
        (Some(folder), _) => {
            let failed =
                |e: std::io::Error| Failure::new(format!("cannot write into `{}`: {e}", folder.display()));
            std::fs::create_dir_all(folder).map_err(failed)?;
            for schema in chosen {
                let path = folder.join(schema.file_name());
                std::fs::write(&path, schema.text).map_err(failed)?;
                say(path.display());
            }
        }
        (None, Some(_)) => chosen.iter().for_each(|schema| say(schema.text.trim_end())),
        (None, None) => {
            let width = SCHEMAS.iter().map(|schema| schema.name.len()).max().unwrap_or(0);
            chosen.iter().for_each(|schema| say(format!("{:<width$}  {}", schema.name, schema.of)));
        }
    }
    Ok(ExitCode::SUCCESS)
}
