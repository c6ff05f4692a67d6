//! `drape init`: a commented starting point for a kind of server, or what must exist before the first start.

use std::path::{Path, PathBuf};

use drape_policy::shipped::{self, ShippedSet};

use super::{Failure, say};
use crate::clock::Clock;
use crate::config::Config;
use crate::templates::{self, TEMPLATES, Template};
use crate::workbench::personas::Personas;
use crate::{logs, parts};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Write a starting point: epic, oracle-health or hapi. Left out, the keys and the log of a configuration are made.
    template: Option<String>,
    /// Where the starting point goes. Nothing that is there is written over.
    #[arg(long, value_name = "FOLDER", default_value = ".", requires = "template")]
    directory: PathBuf,
    /// The shipped set that its policies are copied from.
    #[arg(long, value_name = "NAME", default_value = "hospital", requires = "template")]
    set: String,
    /// The configuration.
    #[arg(short, long, default_value = "drape.yaml", conflicts_with = "template")]
    config: PathBuf,
}

/// Runs the verb.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.template {
        None => keys_and_log(&arguments.config),
        Some(name) => starting_point(name, arguments),
    }
}

/// Makes root key, log key, signing key and log. What exists is left alone.
fn keys_and_log(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path)?;
    let made = parts::init(&config, &Clock::system())?;
    if made.is_empty() {
        say("everything exists already; nothing was changed");
    }
    for what in made {
        say(format!("made {what}"));
    }
    for (tenant, audit) in logs::all(&config) {
        let signer = drape_audit::NoteSigner::from_seed_file(&audit.origin, &audit.signing_key_file)?;
        match tenant {
            None => say("the log's public key, for whoever verifies it:"),
            Some(name) => say(format!("that of the log of `{name}`:")),
        }
        say(format!("  {}", signer.verifier()));
    }
    Ok(())
}

fn starting_point(name: &str, arguments: &Arguments) -> Result<(), Failure> {
    let template = templates::find(name).ok_or_else(|| {
        let list: Vec<String> = TEMPLATES.iter().map(|t| format!("{} ({})", t.name, t.title)).collect();
        Failure::new(format!(
            "`{name}` is no starting point\n  help: there are {}; or say nothing to make the keys and the log of drape.yaml",
            list.join(", ")
        ))
    })?;
    let set = shipped::find(&arguments.set).ok_or_else(|| {
        let help = shipped::names();
        Failure::new(format!("`{}` is no shipped policy set\n  help: {help}", arguments.set))
    })?;
    let mut files = vec![
        ("drape.yaml".to_owned(), configuration(template, set)?),
        ("README.md".to_owned(), readme(template, set)),
        ("policies/overrides.yaml".to_owned(), OVERRIDES.to_owned()),
    ];
    files.extend(set.files.iter().map(|(name, text)| (format!("policies/{name}"), (*text).to_owned())));
    let folder = &arguments.directory;
    // All are looked at before any is written, so that nothing is left half done.
    let there: Vec<String> = files
        .iter()
        .map(|(name, _)| folder.join(name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| format!("  {}", path.display()))
        .collect();
    if !there.is_empty() {
        return Err(Failure::new(format!(
            "nothing was written, since it would write over\n{}\n  help: name another folder by `--directory`",
            there.join("\n")
        )));
    }
    for (name, text) in &files {
        write(&folder.join(name), text)?;
        say(format!("wrote {}", folder.join(name).display()));
    }
    let config = folder.join("drape.yaml");
    say(format!(
        "\nnext: change the names marked `CHANGE` in {0}, then\n  drape init  --config {0}\n  drape check --config {0}\n{1} tells the way from there",
        config.display(),
        folder.join("README.md").display()
    ));
    Ok(())
}

/// Writes a file that is not there yet; one that somebody made in the meantime stays.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let what = |e: std::io::Error| Failure::new(format!("cannot write `{}`: {e}", path.display()));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(what)?;
    }
    let mut file = std::fs::File::create_new(path).map_err(what)?;
    file.write_all(text.as_bytes()).map_err(what)
}

/// The example with policies of its own, what is to be changed marked, and no TLS until there is a certificate.
fn configuration(template: &Template, set: &ShippedSet) -> Result<String, Failure> {
    let mut out = format!(
        "# Written by `drape init {}`. Every line marked CHANGE holds a name that is yours to give; README.md beside this\n\
         # file tells the way from here.\n#\n",
        template.name
    );
    let mut lines = template.text.lines().peekable();
    let mut section = "";
    while let Some(line) = lines.next() {
        let indent = indent_of(line);
        let key = line.trim().split(':').next().unwrap_or_default();
        if indent == 0 && !line.starts_with('#') && !line.is_empty() {
            section = key;
        }
        match (section, key) {
            ("listen", "address") => {
                out += "  # Only this machine, and in the clear, until there is a certificate: then `0.0.0.0` and `tls`. CHANGE\n";
                out += "  address: \"127.0.0.1:8443\"\n  plaintext: true\n";
                continue;
            }
            ("listen", "tls") => {
                out += &format!("  # {}\n", line.trim());
                while let Some(inner) = lines.next_if(|l| indent_of(l) > indent && !l.trim().is_empty()) {
                    out += &format!("  #   {}\n", inner.trim());
                }
                continue;
            }
            // It says the same as the line that is written instead.
            ("listen", "# plaintext") => continue,
            ("admin", "address") => {
                out += &format!("{}\n", line.replace("0.0.0.0", "127.0.0.1"));
                continue;
            }
            ("tenants", "policies") => {
                while lines.next_if(|l| indent_of(l) > indent && !l.trim().is_empty()).is_some() {}
                out += &policies(set);
                continue;
            }
            // What lets a caller say more of herself than her token does is for its owner to open; other sets have
            // other purposes.
            ("tenants", "purpose_header" | "launch_purposes" | "break_glass") => {
                let inner =
                    std::iter::from_fn(|| lines.next_if(|l| indent_of(l) > indent && !l.trim().is_empty()));
                for line in std::iter::once(line).chain(inner).filter(|_| set.name == "hospital") {
                    out += &format!("{}# {}\n", " ".repeat(indent), &line[indent..]);
                }
                continue;
            }
            ("tenants", "purposes") if set.name != "hospital" => {
                while lines.next_if(|l| indent_of(l) > indent && !l.trim().is_empty()).is_some() {}
                out += &purposes(set, indent)?;
                continue;
            }
            _ => {}
        }
        out += &marked(line);
        out.push('\n');
    }
    Ok(out)
}

/// The lines about policies: those of the folder that is written beside the configuration.
fn policies(set: &ShippedSet) -> String {
    let mut out = format!(
        "    policies:\n      directory: policies # a copy of the shipped set `{}`: yours to change\n",
        set.name
    );
    out += "      overrides_file: policies/overrides.yaml # the privacy officer's list\n";
    out += "      # labels_file: policies/labels.yaml    # instead of the shipped files of that name\n";
    out += "      # facts_file: policies/facts.yaml\n";
    out += "      # redaction: silent # instead of what treatments.yaml says: declared, or silent\n";
    out
}

/// The purposes that activate the roles of a set, as its personas have them, and the officer's.
fn purposes(set: &ShippedSet, indent: usize) -> Result<String, Failure> {
    let text = set.file("personas.yaml").unwrap_or_default();
    let personas = Personas::parse("personas.yaml", text).map_err(|f| Failure::faults(&f))?;
    let pad = " ".repeat(indent);
    let mut out = format!("{pad}purposes:\n");
    for (purpose, roles) in &personas.purposes {
        let officer = (purpose == "HOPERAT").then_some("privacy-officer");
        let roles: Vec<&str> = roles.iter().map(String::as_str).chain(officer).collect();
        out += &format!("{pad}  {purpose}: [{}]\n", roles.join(", "));
    }
    Ok(out)
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A line that holds a made-up name says that it is to be changed.
fn marked(line: &str) -> String {
    let (says, comment) = match line.split_once(" # ") {
        _ if line.trim_start().starts_with('#') => return line.to_owned(),
        Some((says, comment)) => (says.trim_end(), Some(comment)),
        None => (line, None),
    };
    let made_up = ["example.org", "00000000-0000", "time_zone: "].iter().any(|word| says.contains(word));
    match (made_up, comment) {
        (false, _) => line.to_owned(),
        (true, Some(comment)) => format!("{says} # CHANGE: {comment}"),
        (true, None) => format!("{says} # CHANGE"),
    }
}

const OVERRIDES: &str = "\
# The privacy officer's list; docs/policies.md and docs/labels.md tell of it. Patients by their bare logical id at the
# upstream. It is part of the policy digest, so that every change of it stands in the log.
version: 1
patients: {}
#  \"8c1f\": { labels: [VIP] }
#  \"77a0\": { releases: [SUD] } # consents to the release of substance-use records
#  \"b2e4\": { denies: [SEX] }   # for policies that read consentDenies
corrections: []
# - { record: Observation/o7, add: [HIV], on: \"2026-11-20\", by: A. Officer, why: named in the report }
";

fn readme(template: &Template, set: &ShippedSet) -> String {
    format!(
        "# Drape {title}

Written by `drape init {name}`. What is here:

- `drape.yaml`: the configuration, commented. Lines marked `CHANGE` hold names that are yours to give.
- `policies/`: a copy of the shipped set `{set}` ({purpose}), with personas and tests. Change it as you like;
  `docs/policies.md` of Drape tells how.
- `policies/overrides.yaml`: the privacy officer's list of patients and corrected labels.

## Next

1. Change the names in `drape.yaml`: the address of your FHIR server, your issuer of tokens, your own address.
2. Make keys and an empty log, once. Keep `keys/root.key` safe: without it nothing that was sealed can be opened.

       drape init --config drape.yaml

3. Check configuration and policies, whenever one of them changes.

       drape check --config drape.yaml

4. Run the policy tests, and see what each persona is shown and by which policy.

       drape test --config drape.yaml
       drape explain --help

5. Prove what must never happen, where the set has a `guarantees.yaml`.

       drape prove --config drape.yaml

6. Put a certificate under `listen.tls` in the place of `plaintext`, let it listen where clients reach it, and start.

       drape serve --config drape.yaml

What Drape does not make: TLS files, and credentials that your FHIR server gives out (`…_file` under `upstream.auth`).
",
        title = template.title,
        name = template.name,
        set = set.name,
        purpose = set.title,
    )
}
