//! The tour: each step is played against the running proxy, and what came out is compared with what should have.

use std::path::Path;

use drape_audit::verify::Check;
use drape_audit::{EventSecret, NoteSigner, Query, Reader, verify};
use drape_demo::Persona;
use http::{Method, StatusCode};
use serde_json::Value;

use super::http_client::Reply;
use super::looks::{Look, records};
use super::stage::Stage;
use crate::cli::{Failure, entry_line, say};
use crate::logs;
use crate::parts::root_key;

/// What the tour found wrong.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    /// Says that something holds, or notes that it does not.
    fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            say(format!("  NOT AS IT SHOULD BE: {what}"));
            self.0.push(what.to_owned());
        }
    }
}

fn head(number: u8, title: &str) {
    say(format!("\n{number}. {title}"));
}

/// Plays everything; an error when anything came out otherwise than it should.
pub(super) async fn play(stage: &mut Stage) -> Result<(), Failure> {
    let mut findings = Findings::default();
    say(format!(
        "Drape in front of {} with {}",
        if stage.embedded { "a made-up hospital" } else { &stage.upstream_base },
        stage.patients
    ));
    views(stage, &mut findings).await?;
    adolescent(stage, &mut findings).await?;
    attacks(stage, &mut findings).await?;
    counts(stage, &mut findings).await?;
    policy_edit(stage, &mut findings).await?;
    who_saw(stage, &mut findings)?;
    stage.stop().await;
    flipped_byte(stage, &mut findings)?;
    if findings.0.is_empty() {
        say("\nEverything came out as it should.");
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} thing(s) came out otherwise:\n  {}",
        findings.0.len(),
        findings.0.join("\n  ")
    )))
}

fn lead(stage: &Stage) -> Option<String> {
    stage.issuer.cast().figures.lead.clone()
}

/// The id under which a persona knows the patient.
fn known_as(stage: &Stage, persona: Persona, id: &str) -> Result<String, Failure> {
    if persona != Persona::Researcher {
        return Ok(id.to_owned());
    }
    // A researcher finds pseudonyms in search results; the tour, which has the keys at hand, asks for the one to show.
    Ok(stage.parts()?.tenants()[0].pseudonymizer.of("Patient", id))
}

async fn views(stage: &Stage, findings: &mut Findings) -> Result<(), Failure> {
    head(1, "One patient, as different people see her");
    let Some(lead) = lead(stage) else {
        say("  (this server shows no patient whom anybody of the cast treats)");
        return Ok(());
    };
    let truth = stage.asker.get(&format!("{}/Patient/{lead}", stage.upstream_base), None).await?.json();
    let pseudonym = known_as(stage, Persona::Researcher, &lead)?;
    let met = meet(stage, &pseudonym).await?;
    let parent = parent_of(stage, &lead);
    let mut line = format!("  {:<16}", "");
    for (title, width) in Look::HEADS {
        line.push_str(&format!("{title:<width$} "));
    }
    say(line.trim_end());
    let mut looks = Vec::new();
    for persona in Persona::ALL {
        let part = matches!(
            persona,
            Persona::Doctor
                | Persona::Nurse
                | Persona::Billing
                | Persona::Researcher
                | Persona::Patient
                | Persona::Guardian
                | Persona::Attacker
                | Persona::RecordsOfficer
        );
        if !part || stage.issuer.cast().member(persona).is_none() || persona == Persona::Guardian && !parent {
            continue;
        }
        let look = Look::take(stage, persona, &known_as(stage, persona, &lead)?).await?;
        let mut line = format!("  {:<16}", persona.word());
        for (cell, (_, width)) in look.cells().iter().zip(Look::HEADS) {
            let cell: String = cell.chars().take(width).collect();
            line.push_str(&format!("{cell:<width$} "));
        }
        say(line.trim_end());
        looks.push((persona, look));
    }
    let look = |persona: Persona| {
        looks.iter().find(|(p, _)| *p == persona).map(|(_, l)| l.clone()).unwrap_or_default()
    };
    let born = truth["birthDate"].as_str().unwrap_or_default();
    let [all, nurse, billing, researcher, attacker] =
        [Persona::RecordsOfficer, Persona::Nurse, Persona::Billing, Persona::Researcher, Persona::Attacker]
            .map(look);
    findings.expect(all.born == born && all.name.len() > 1, "the records officer is shown everything");
    if stage.issuer.cast().member(Persona::Doctor).is_some() {
        let doctor = look(Persona::Doctor);
        // Another server's patient may be in treatment for substance use, of which even she is shown nothing.
        let whole = if stage.embedded { doctor == all } else { doctor.cells()[..5] == all.cells()[..5] };
        findings.expect(whole, "the treating doctor is shown everything");
    }
    if stage.issuer.cast().member(Persona::Nurse).is_some() {
        findings.expect(
            nurse.name == all.name && nurse.number == "-" && nurse.phone == "-",
            "the nurse is shown a name, no number, no phone",
        );
    }
    findings.expect(
        billing.phone != all.phone || all.phone == "-",
        "billing is not shown the phone in the clear",
    );
    findings.expect(!billing.notes.contains("whole"), "billing is shown no note");
    findings.expect(!stage.embedded || billing.claims != "-", "billing is shown claims");
    findings.expect(met, "the researcher finds the patient by pseudonym");
    findings.expect(
        researcher.name == "-" && researcher.born.len() <= 4,
        "the researcher is shown no name and only a year",
    );
    findings.expect(
        attacker.cells().iter().all(|c| *c == "-" || c.is_empty()),
        "a login without a role is shown nothing",
    );
    Ok(())
}

/// Whether the guardian of the cast is one to that patient.
fn parent_of(stage: &Stage, id: &str) -> bool {
    let guardian = stage.issuer.cast().member(Persona::Guardian);
    guardian.is_some_and(|g| g.relations.iter().any(|r| r.patient == id))
}

/// As the researcher, pages through the patients until one has that pseudonym: from then on it can be asked for.
async fn meet(stage: &Stage, pseudonym: &str) -> Result<bool, Failure> {
    let token = stage.token(Persona::Researcher)?;
    let mut url = format!("{}/Patient?_count=100", stage.public_base);
    for _ in 0..100 {
        let bundle = stage.asker.get(&url, Some(&token)).await?.json();
        if records(&bundle, "Patient").iter().any(|p| p["id"] == pseudonym) {
            return Ok(true);
        }
        match next(&bundle) {
            Some(link) => url = link,
            None => return Ok(false),
        }
    }
    Ok(false)
}

fn next(bundle: &Value) -> Option<String> {
    let links = bundle["link"].as_array()?;
    links.iter().find(|l| l["relation"] == "next")?["url"].as_str().map(str::to_owned)
}

async fn adolescent(stage: &Stage, findings: &mut Findings) -> Result<(), Failure> {
    head(2, "A parent and an adolescent's confidential records");
    let figures = &stage.issuer.cast().figures;
    let (Some(adolescent), Some(_)) = (&figures.adolescent, stage.issuer.cast().member(Persona::Guardian))
    else {
        say("  (this server's data has no adolescent with a parent)");
        return Ok(());
    };
    let mut seen = Vec::new();
    for persona in [Persona::RecordsOfficer, Persona::Guardian] {
        let token = stage.token(persona)?;
        let url = format!("{}/Condition?patient=Patient/{adolescent}&_count=100", stage.public_base);
        let bundle = stage.asker.get(&url, Some(&token)).await?.json();
        let names: Vec<String> = records(&bundle, "Condition")
            .iter()
            .filter_map(|c| c["code"]["coding"][0]["display"].as_str().or(c["code"]["text"].as_str()))
            .map(str::to_owned)
            .collect();
        say(format!(
            "  {:<16}{}",
            persona.word(),
            if names.is_empty() { "nothing".into() } else { names.join("; ") }
        ));
        seen.push(names);
    }
    if stage.embedded {
        findings.expect(seen[1].len() < seen[0].len(), "the parent is not shown the confidential diagnoses");
        findings.expect(!seen[1].is_empty(), "the parent is shown the other diagnoses");
    }
    if let Some(child) = &figures.child
        && parent_of(stage, child)
    {
        let mut counts = Vec::new();
        for persona in [Persona::RecordsOfficer, Persona::Guardian] {
            let token = stage.token(persona)?;
            let url = format!("{}/Condition?patient=Patient/{child}&_count=100", stage.public_base);
            counts.push(records(&stage.asker.get(&url, Some(&token)).await?.json(), "Condition").len());
        }
        say(format!("  of the younger child the parent is shown {} of {} diagnoses", counts[1], counts[0]));
        findings.expect(counts[0] == counts[1], "the parent of a child under twelve is shown everything");
    }
    Ok(())
}

/// One attempt to get at what is not shown.
struct Attempt {
    what: &'static str,
    who: Option<Persona>,
    target: String,
    method: Method,
    headers: Vec<(&'static str, &'static str)>,
    /// The statuses that are right.
    right: &'static [u16],
}

impl Attempt {
    fn get(what: &'static str, who: Persona, target: String, right: &'static [u16]) -> Self {
        Self { what, who: Some(who), target, method: Method::GET, headers: Vec::new(), right }
    }
}

async fn attacks(stage: &Stage, findings: &mut Findings) -> Result<(), Failure> {
    head(3, "Ways round, and what Drape says to them");
    let Some(lead) = lead(stage) else { return Ok(()) };
    let truth = stage.asker.get(&format!("{}/Patient/{lead}", stage.upstream_base), None).await?.json();
    let number = truth["identifier"][0]["value"].as_str().unwrap_or("0").to_owned();
    let family = truth["name"][0]["family"].as_str().unwrap_or("nobody").to_owned();
    let born = truth["birthDate"].as_str().unwrap_or("1900").to_owned();
    let coded = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let stranger = stage.issuer.cast().figures.stranger.clone();
    let mut attempts = vec![
        Attempt {
            who: None,
            ..Attempt::get("no token", Persona::Attacker, format!("Patient/{lead}"), &[401])
        },
        Attempt::get("a login without a role", Persona::Attacker, format!("Patient/{lead}"), &[403]),
        Attempt::get(
            "guess a number",
            Persona::Researcher,
            format!("Patient?identifier={}", coded(&number)),
            &[403],
        ),
        Attempt::get(
            "narrow a birth date",
            Persona::Researcher,
            format!("Patient?birthdate=gt{}", coded(&born)),
            &[403],
        ),
        Attempt::get(
            "a raw id where pseudonyms are due",
            Persona::Researcher,
            format!("Patient/{lead}"),
            &[404],
        ),
        Attempt::get(
            "who has that diagnosis (_has)",
            Persona::Billing,
            "Patient?_has:Condition:patient:code=F11.20".into(),
            &[403],
        ),
        Attempt::get(
            "chain to a name",
            Persona::Billing,
            format!("Claim?patient.family={}", coded(&family)),
            &[403],
        ),
        Attempt::get(
            "full text of narratives",
            Persona::Nurse,
            format!("Patient?_text={}", coded(&family)),
            &[400, 403],
        ),
        Attempt::get("sort by what is hidden", Persona::Billing, "Patient?_sort=birthdate".into(), &[403]),
        Attempt::get("everything at once", Persona::Billing, format!("Patient/{lead}/$everything"), &[403]),
        Attempt::get("an unknown parameter", Persona::Doctor, "Patient?nmae=x".into(), &[400, 403]),
        Attempt::get("an exact count", Persona::Doctor, "Patient?_summary=count".into(), &[403]),
        Attempt {
            method: Method::POST,
            headers: vec![("x-http-method-override", "PUT")],
            ..Attempt::get(
                "another method in a header",
                Persona::Doctor,
                format!("Patient/{lead}"),
                &[400, 403, 405],
            )
        },
    ];
    if let (Some(stranger), Some(_)) = (stranger, stage.issuer.cast().member(Persona::Doctor)) {
        attempts.push(Attempt::get(
            "a patient of somebody else",
            Persona::Doctor,
            format!("Patient/{stranger}"),
            &[404],
        ));
    }
    for attempt in attempts {
        if attempt.who.is_some_and(|who| stage.issuer.cast().member(who).is_none()) {
            continue;
        }
        let token = attempt.who.map(|who| stage.token(who)).transpose()?;
        let url = format!("{}/{}", stage.public_base, attempt.target);
        let reply =
            stage.asker.send(attempt.method.clone(), &url, token.as_deref(), &attempt.headers).await?;
        tell(attempt.what, attempt.who, &reply);
        findings.expect(
            attempt.right.contains(&reply.status.as_u16()),
            &format!("{}: {}", attempt.what, reply.status),
        );
        let leaks = attempt.who.is_some() && (reply.text.contains(&number) || reply.text.contains(&born));
        findings.expect(!leaks, &format!("{}: the answer says what is hidden", attempt.what));
    }
    forged(stage, findings, &lead).await?;
    stolen_page(stage, findings).await
}

fn tell(what: &str, who: Option<Persona>, reply: &Reply) {
    let who = who.map_or("nobody", Persona::word);
    say(format!("  {what:<34} {who:<11} {}  {}", reply.status.as_u16(), reply.says()));
}

/// A token whose claims were changed after it was signed.
async fn forged(stage: &Stage, findings: &mut Findings, lead: &str) -> Result<(), Failure> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let token = stage.token(Persona::Attacker)?;
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let [_, claims, _] = &mut parts[..] else {
        return Err(Failure::new("the issuer's token has not three parts"));
    };
    let plain = URL_SAFE_NO_PAD.decode(claims.as_bytes())?;
    let mut value: Value = serde_json::from_slice(&plain)?;
    value["roles"] = serde_json::json!(["records-officer"]);
    value["purpose_of_use"] = "HOPERAT".into();
    *claims = URL_SAFE_NO_PAD.encode(value.to_string());
    let changed = parts.join(".");
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#), parts[1]);
    for (what, token) in
        [("a token changed after signing", changed), ("a token that nobody signed", unsigned)]
    {
        let reply = stage.asker.get(&format!("{}/Patient/{lead}", stage.public_base), Some(&token)).await?;
        tell(what, Some(Persona::Attacker), &reply);
        findings.expect(reply.status == StatusCode::UNAUTHORIZED, &format!("{what}: {}", reply.status));
    }
    Ok(())
}

/// A paging link that is cut, and one that another caller follows.
async fn stolen_page(stage: &Stage, findings: &mut Findings) -> Result<(), Failure> {
    let token = stage.token(Persona::RecordsOfficer)?;
    let first =
        stage.asker.get(&format!("{}/Condition?_count=5", stage.public_base), Some(&token)).await?.json();
    let Some(link) = next(&first) else {
        say("  (this server has too few conditions to page through)");
        return Ok(());
    };
    let followed = stage.asker.get(&link, Some(&token)).await?;
    findings.expect(followed.status == StatusCode::OK, "a paging link works for its owner");
    let nurse = stage.token(Persona::Researcher)?;
    let cut = &link[..link.len() - 4];
    for (what, link, who, token) in [
        ("somebody else's page", link.as_str(), Persona::Researcher, &nurse),
        ("a page link that was cut", cut, Persona::RecordsOfficer, &token),
    ] {
        let reply = stage.asker.get(link, Some(token)).await?;
        tell(what, Some(who), &reply);
        findings.expect(reply.status == StatusCode::GONE, &format!("{what}: {}", reply.status));
    }
    Ok(())
}

async fn counts(stage: &Stage, findings: &mut Findings) -> Result<(), Failure> {
    head(4, "Counts with noise, and a budget that runs out");
    let token = stage.token(Persona::Analyst)?;
    let ask = async |query: &str| {
        let url = format!("{}/Patient?{query}&_summary=count", stage.public_base);
        stage.asker.get(&url, Some(&token)).await
    };
    let truth = stage
        .asker
        .get(&format!("{}/Patient?gender=female&_summary=count", stage.upstream_base), None)
        .await?;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let reply = ask("gender=female").await?;
        let json = reply.json();
        let header =
            |name: &str| reply.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        say(format!(
            "  how many women?   {}   (ε {}, {}, 95 % within {}; {} spent)",
            json["total"],
            header("drape-epsilon"),
            header("drape-mechanism"),
            header("drape-interval-95"),
            spent(stage)?
        ));
        answers.push(json["total"].clone());
    }
    say(format!("  (the exact number, which nobody behind Drape is told: {})", truth.json()["total"]));
    findings.expect(
        answers[0].is_u64() && answers.iter().all(|a| *a == answers[0]),
        "the same question gets the same answer",
    );
    let once = spent(stage)?;
    findings.expect(once == "ε 0.4", &format!("the same question is charged once, not {once}"));
    let mut refused = false;
    for query in ["gender=male", "birthdate=lt1960-01-01", "birthdate=lt1980-01-01"] {
        let reply = ask(query).await?;
        let answer = match reply.status {
            StatusCode::OK => reply.json()["total"].to_string(),
            status => format!("{}  {}", status.as_u16(), reply.says()),
        };
        refused |= reply.status == StatusCode::FORBIDDEN;
        say(format!("  {query:<24}{answer}   ({} spent)", spent(stage)?));
    }
    findings.expect(refused, "a question beyond the budget is refused");
    let listed =
        stage.asker.get(&format!("{}/Patient?gender=female", stage.public_base), Some(&token)).await?;
    tell("the records behind the count", Some(Persona::Analyst), &listed);
    findings.expect(listed.status == StatusCode::FORBIDDEN, "who counts is shown no record");
    Ok(())
}

fn spent(stage: &Stage) -> Result<String, Failure> {
    let parts = stage.parts()?;
    let Some(budget) = &parts.tenants()[0].budget.clone() else { return Ok("nothing".into()) };
    Ok(format!("ε {}", crate::stages::forward::epsilon(budget.ledger.spent(&budget.config.name)?.nano)))
}

const EDIT: &str = r#"
@id("billing-no-birth-dates")
forbid (principal in Role::"billing", action in Action::"release", resource == Category::"birth-date");
"#;

async fn policy_edit(stage: &mut Stage, findings: &mut Findings) -> Result<(), Failure> {
    head(5, "One line of policy, a restart, another view");
    let Some(lead) = lead(stage) else { return Ok(()) };
    let before = Look::take(stage, Persona::Billing, &lead).await?;
    let digest = stage.parts()?.tenants()[0].policy_digest.clone();
    let file = stage.directory.join("policies/billing.cedar");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(&file, format!("{text}{EDIT}"))?;
    say(format!("  added to billing.cedar: {}", EDIT.trim().lines().last().unwrap_or_default()));
    stage.stop().await;
    stage.start().await?;
    let after = Look::take(stage, Persona::Billing, &lead).await?;
    let now = stage.parts()?.tenants()[0].policy_digest.clone();
    say(format!("  billing's view of the birth date: {} → {}", before.born, after.born));
    let short = |d: &str| d.chars().take(12).collect::<String>();
    say(format!("  the policies in force: {}… → {}…", short(&digest), short(&now)));
    findings
        .expect(before.born != after.born && after.born == "-", "the edit hides the birth date from billing");
    findings.expect(digest != now, "the edit changes the digest");
    Ok(())
}

fn who_saw(stage: &Stage, findings: &mut Findings) -> Result<(), Failure> {
    head(6, "Who saw this patient, why, and under which policy");
    let Some(lead) = lead(stage) else { return Ok(()) };
    let parts = stage.parts()?;
    let tenant = &parts.tenants()[0].clone();
    let query = Query { patient: Some((tenant.name.clone(), lead)), limit: 400, ..Query::default() };
    let found = parts.log.reader().search(&query)?;
    let mut people: Vec<&str> = Vec::new();
    let mut shown = 0;
    for opened in &found {
        let Some(event) = opened.event() else { continue };
        let who = event.subject.as_ref().and_then(|s| s.name.as_deref()).unwrap_or_default();
        if people.contains(&who) {
            continue;
        }
        people.push(who);
        shown += 1;
        say(format!("  {}", entry_line(opened.index, event, &tenant.time_zone)));
    }
    say(format!("  ({} entries in all; the newest of each person is shown)", found.len()));
    let doctor = stage.issuer.cast().member(Persona::Doctor).map(|m| m.name.as_str());
    findings.expect(
        shown >= 3 && doctor.is_none_or(|d| people.contains(&d)),
        "the log names who saw the patient",
    );
    let attacker = stage.issuer.cast().member(Persona::Attacker).map_or("", |m| m.name.as_str());
    findings.expect(
        !found.iter().filter_map(|o| o.event()).any(|e| {
            e.subject.as_ref().is_some_and(|s| s.name.as_deref() == Some(attacker))
                && e.class != drape_audit::Class::Refusal
        }),
        "the attacker saw nobody",
    );
    Ok(())
}

fn flipped_byte(stage: &Stage, findings: &mut Findings) -> Result<(), Failure> {
    head(7, "The log verifies, and a flipped byte is found");
    let config = stage.config()?;
    let signer = NoteSigner::from_seed_file(&config.audit.origin, &config.audit.signing_key_file)?;
    let secret = EventSecret::new(logs::secret(&config, None, &root_key(&config)?)?);
    let check = |directory: &Path| {
        verify(&Check { directory, key: signer.verifier(), secret: Some(&secret), remembered: None })
    };
    let report = check(&config.audit.directory);
    indent(&report.to_string());
    findings.expect(report.exit() == drape_audit::Exit::Ok, "the log verifies");
    let newest = Reader::new(&config.audit.directory, secret.clone()).tail(1)?;
    findings.expect(!newest.is_empty(), "the log holds entries");

    let copy = stage.directory.join("log-copy");
    copy_folder(&config.audit.directory, &copy)?;
    let segment = largest(&copy.join("events"))?;
    let mut bytes = std::fs::read(&segment)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes)?;
    say(format!("  one bit of byte {middle} of a copy's event store flipped:"));
    let report = check(&copy);
    indent(&report.to_string());
    findings.expect(report.exit() == drape_audit::Exit::Tampered, "the flipped byte is found");
    Ok(())
}

fn indent(text: &str) {
    for line in text.lines() {
        say(format!("    {line}"));
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn largest(folder: &Path) -> Result<std::path::PathBuf, Failure> {
    let mut found: Option<(u64, std::path::PathBuf)> = None;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let size = entry.metadata()?.len();
        if found.as_ref().is_none_or(|(most, _)| size > *most) {
            found = Some((size, entry.path()));
        }
    }
    found.map(|(_, path)| path).ok_or_else(|| Failure::new("the log has no event store"))
}
