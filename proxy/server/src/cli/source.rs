//! Which policies a verb is about: those of a configuration, a shipped set, or a folder.

use std::path::{Path, PathBuf};

use drape_policy::shipped;

use super::Failure;
use crate::config::{Config, Policies, PolicySource, Tenant};
use crate::parts::{Loaded, load_policies};
use crate::workbench::examine::personas;
use crate::workbench::files::SetFiles;
use crate::workbench::personas::Personas;

/// The arguments that say it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Source {
    /// A configuration; its policies are meant. `drape.yaml` where nothing is named.
    #[arg(short, long, value_name = "FILE", conflicts_with = "policies")]
    pub(crate) config: Option<PathBuf>,
    /// Which tenant of the configuration; may be left out where there is only one.
    #[arg(long, value_name = "NAME", conflicts_with = "policies")]
    pub(crate) tenant: Option<String>,
    /// Instead of a configuration: a shipped set by its name, or a folder of `*.cedar` files.
    #[arg(short, long, value_name = "SET|FOLDER")]
    pub(crate) policies: Option<String>,
}

/// Policies with everything that belongs to them.
pub(crate) struct Sourced {
    /// How messages name them.
    pub(crate) name: String,
    /// What decides.
    pub(crate) loaded: Loaded,
    /// The set's folder.
    pub(crate) files: SetFiles,
    /// The set's personas; none where it has no `personas.yaml`.
    pub(crate) personas: Personas,
    /// The tenant, where a configuration was named.
    pub(crate) tenant: Option<Tenant>,
}

impl Source {
    /// Loads and checks them; every fault at once.
    pub(crate) fn load(&self) -> Result<Sourced, Failure> {
        match &self.policies {
            Some(name) => named(name),
            None => {
                let path = self.config.as_deref().unwrap_or(Path::new("drape.yaml"));
                if self.config.is_none() && !path.exists() {
                    let help = "name a configuration by `--config`, or a set or folder by `--policies`";
                    return Err(Failure::new(format!("there is no `drape.yaml` here\n  help: {help}")));
                }
                let config = Config::load(path)?;
                let tenant = pick(config.tenants, self.tenant.as_deref())?;
                let name = format!("tenant `{}`", tenant.name);
                sourced(name, &tenant.policies.clone(), Some(tenant))
            }
        }
    }
}

/// `drape.yaml#tenant` or `drape.yaml`; else as [`named`].
pub(crate) fn either(name: &str) -> Result<Sourced, Failure> {
    let (file, tenant) = name.split_once('#').map_or((name, None), |(file, tenant)| (file, Some(tenant)));
    let is_file = [".yaml", ".yml"].iter().any(|ending| file.ends_with(ending));
    if tenant.is_none() && !is_file {
        return named(name);
    }
    let (config, tenant) = (Some(PathBuf::from(file)), tenant.map(str::to_owned));
    Source { config, tenant, policies: None }.load()
}

/// A shipped set by its name, else a folder.
pub(crate) fn named(name: &str) -> Result<Sourced, Failure> {
    sourced(format!("`{name}`"), &Policies::of(of_name(name)?), None)
}

/// Where the policies of that name are.
pub(crate) fn of_name(name: &str) -> Result<PolicySource, Failure> {
    Ok(match shipped::find(name) {
        Some(set) if !Path::new(name).is_dir() => PolicySource::Shipped(set.name.to_owned()),
        _ => {
            let folder = PathBuf::from(name);
            if !folder.is_dir() {
                let help = shipped::names();
                return Err(Failure::new(format!(
                    "`{name}` is neither a shipped set nor a folder\n  help: {help}"
                )));
            }
            PolicySource::Directory(folder)
        }
    })
}

fn sourced(name: String, policies: &Policies, tenant: Option<Tenant>) -> Result<Sourced, Failure> {
    let files = SetFiles::of(&policies.source).map_err(Failure::new)?;
    let loaded =
        load_policies(policies, tenant.as_ref().map(|t| &t.upstream)).map_err(|f| Failure::faults(&f))?;
    let personas = personas(&files).map_err(|f| Failure::faults(&f))?;
    Ok(Sourced { name, loaded, files, personas, tenant })
}

/// The one tenant that is meant.
pub(crate) fn pick(tenants: Vec<Tenant>, name: Option<&str>) -> Result<Tenant, Failure> {
    let names: Vec<String> = tenants.iter().map(|t| t.name.clone()).collect();
    match name {
        Some(name) => tenants.into_iter().find(|t| t.name == name).ok_or_else(|| {
            let help = format!("there are: {}", names.join(", "));
            Failure::new(format!("`{name}` is no tenant of this configuration\n  help: {help}"))
        }),
        None => {
            let mut tenants = tenants.into_iter();
            match (tenants.next(), tenants.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(Failure::new(format!(
                    "there are several tenants\n  help: say `--tenant NAME`; there are: {}",
                    names.join(", ")
                ))),
            }
        }
    }
}
