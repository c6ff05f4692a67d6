//! A real Keycloak with a realm of the suite's own (`keycloak/realm.json`), spoken to by plain HTTP as apps do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::child::{Child, run};
use crate::http::{Call, Reply, encode};
use crate::{Fault, Outcome, places};

/// The server; ended when dropped.
#[derive(Debug)]
pub struct Keycloak {
    /// `iss` of the realm.
    pub url: String,
    root: String,
    password: String,
    child: Child,
}

/// What an app is given for a code or a password.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// For the FHIR server.
    pub access: String,
    /// For the app, where it asked for `openid`.
    pub id: Option<String>,
    /// For the authorization server.
    pub refresh: Option<String>,
}

/// What the realm must know of those who use it.
#[derive(Clone, Debug)]
pub struct Realm<'a> {
    /// The base URL that apps use: the audience of their tokens.
    pub base: &'a str,
    /// The FHIR server behind: the audience of Drape's own token.
    pub upstream: &'a str,
    /// Public keys of the client `backend`.
    pub backend_keys: &'a str,
    /// Public keys of the client `drape`.
    pub drape_keys: &'a str,
}

/// The first start makes the server out of its parts; on a busy machine that takes minutes.
const READY_WITHIN: Duration = Duration::from_secs(400);
const VERSION: &str = "26.7.3";
const REALM: &str = "hospital";

/// Where `conformance/run` unpacks it; `DRAPE_KEYCLOAK` names another folder.
pub fn home() -> Outcome<PathBuf> {
    let unpacked = || places::root().join(format!("target/keycloak/keycloak-{VERSION}"));
    let home = places::setting("DRAPE_KEYCLOAK").map_or_else(unpacked, PathBuf::from);
    places::existing(home, "`conformance/run` fetches Keycloak; or name its folder by DRAPE_KEYCLOAK")
}

impl Keycloak {
    /// The `iss` of the realm of a server on that port.
    pub fn issuer(port: u16) -> String {
        format!("http://127.0.0.1:{port}/realms/{REALM}")
    }

    /// Starts it with the realm, and waits until that is there.
    pub fn start(work: &Path, port: u16, realm: &Realm<'_>) -> Outcome<Self> {
        let home = home()?;
        let password = format!("pw-{port}-{}", std::process::id());
        let template = std::fs::read_to_string(places::root().join("conformance/keycloak/realm.json"))?;
        // Key sets stand there as text within text.
        let quoted = |text: &str| {
            let text = Value::String(text.to_owned()).to_string();
            text[1..text.len() - 1].to_owned()
        };
        let filled = template
            .replace("@BASE@", realm.base)
            .replace("@UPSTREAM@", realm.upstream)
            .replace("@BACKEND_KEYS@", &quoted(realm.backend_keys))
            .replace("@DRAPE_KEYS@", &quoted(realm.drape_keys))
            .replace("@PASSWORD@", &password)
            .replace("@INSPECTOR_SECRET@", &password);
        let imports = home.join("data/import");
        std::fs::create_dir_all(&imports)?;
        std::fs::write(imports.join("hospital.json"), filled)?;
        let mut command = Command::new(home.join("bin/kc.sh"));
        command
            .args(["start-dev", "--db=dev-mem", "--http-host=127.0.0.1", "--import-realm"])
            .arg(format!("--http-port={port}"))
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", "admin")
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", &password)
            .env("JAVA_OPTS_APPEND", "-XX:TieredStopAtLevel=1 -Xmx512m");
        let mut child = Child::start("keycloak", command, &work.join("keycloak.out"))?;
        let url = Self::issuer(port);
        let probe = format!("{url}/.well-known/openid-configuration");
        child.until(READY_WITHIN, || Call::get(&probe).send().is_ok_and(|r| r.status == 200))?;
        Ok(Self { url, root: format!("http://127.0.0.1:{port}"), password, child })
    }

    /// The secret of the client `inspector`, who may ask about tokens.
    pub fn inspector_secret(&self) -> &str {
        &self.password
    }

    /// An endpoint of the realm.
    pub fn endpoint(&self, name: &str) -> String {
        format!("{}/protocol/openid-connect/{name}", self.url)
    }

    fn grant(&self, form: &str) -> Outcome<Tokens> {
        let media = "application/x-www-form-urlencoded";
        let reply = Call::post(self.endpoint("token"), media, form).send()?.expect(200)?.json()?;
        let text = |name: &str| reply[name].as_str().map(str::to_owned);
        match text("access_token") {
            Some(access) => Ok(Tokens { access, id: text("id_token"), refresh: text("refresh_token") }),
            None => Err(Fault(format!("no token: {reply}"))),
        }
    }

    /// A token for a user's name and password, as an app of the last century would ask.
    pub fn by_password(&self, client: &str, user: &str, scope: &str) -> Outcome<Tokens> {
        let password = encode(&self.password);
        let mut form = format!("grant_type=password&client_id={client}&username={user}&password={password}");
        // An empty scope is one that Keycloak does not know.
        if !scope.is_empty() {
            form.push_str(&format!("&scope={}", encode(scope)));
        }
        self.grant(&form)
    }

    /// A token of a client for itself, by the assertion that it signed.
    pub fn by_assertion(&self, assertion: &str, scope: &str) -> Outcome<Tokens> {
        let kind = encode("urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        let scope = encode(scope);
        self.grant(&format!(
            "grant_type=client_credentials&scope={scope}&client_assertion_type={kind}&client_assertion={assertion}"
        ))
    }

    /// The way of a browser: the app sends it to `authorize` with PKCE, the user logs in, the app exchanges the code.
    pub fn by_browser(
        &self,
        authorize: &str,
        client: &str,
        user: &str,
        scope: &str,
        aud: &str,
    ) -> Outcome<Tokens> {
        let redirect = encode("http://127.0.0.1/app");
        // RFC 7636, appendix B.
        let (verifier, challenge) =
            ("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        let mut reply = Call::get(format!(
            "{authorize}?response_type=code&client_id={client}&redirect_uri={redirect}&state=st&scope={}&aud={}\
             &code_challenge={challenge}&code_challenge_method=S256",
            encode(scope),
            encode(aud),
        ))
        .send()?;
        if reply.status == 302 {
            let on = reply.header("location").unwrap_or_default().to_owned();
            reply = Call::get(on).send()?;
        }
        let page = reply.expect(200)?;
        let text = page.text();
        let action = text.split("action=\"").nth(1).and_then(|rest| rest.split('"').next());
        let action =
            action.ok_or_else(|| Fault(format!("no form to log in by: {text}")))?.replace("&amp;", "&");
        let form = format!("username={user}&password={}&credentialId=", encode(&self.password));
        let sent = Call::post(action, "application/x-www-form-urlencoded", form)
            .header("Cookie", &cookies(&page))
            .send()?
            .expect(302)?;
        let back = sent.header("location").unwrap_or_default();
        if !back.starts_with("http://127.0.0.1/app?") || !back.contains("state=st") {
            return Err(Fault(format!("sent to `{back}` instead of the app")));
        }
        let code = back.split(['?', '&']).find_map(|p| p.strip_prefix("code="));
        let code = code.ok_or_else(|| Fault(format!("no code in `{back}`")))?;
        self.grant(&format!(
            "grant_type=authorization_code&client_id={client}&redirect_uri={redirect}&code={code}&code_verifier={verifier}"
        ))
    }

    /// The keys that it publishes.
    pub fn keys(&self) -> Outcome<Value> {
        Call::get(self.endpoint("certs")).send()?.expect(200)?.json()
    }

    fn administer(&self, method: &str, path: &str, body: Option<&Value>) -> Outcome<Reply> {
        let form = format!(
            "grant_type=password&client_id=admin-cli&username=admin&password={}",
            encode(&self.password)
        );
        let url = format!("{}/realms/master/protocol/openid-connect/token", self.root);
        let token = Call::post(url, "application/x-www-form-urlencoded", form).send()?.expect(200)?.json()?;
        let token = token["access_token"].as_str().unwrap_or_default().to_owned();
        let mut call = Call::new(method, format!("{}/admin/realms/{REALM}{path}", self.root)).bearer(&token);
        if let Some(body) = body {
            call = call.body("application/json", body.to_string());
        }
        let reply = call.send()?;
        if reply.status < 300 { Ok(reply) } else { Err(Fault(format!("{method} {path}: {}", reply.text()))) }
    }

    /// Makes another key to sign with from now on; the former one is still published.
    pub fn add_key(&self) -> Outcome {
        let realm = self.administer("GET", "", None)?.json()?;
        let provider = json!({
            "name": "rsa-next", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
            "parentId": realm["id"],
            "config": { "priority": ["200"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"], "keySize": ["2048"] },
        });
        self.administer("POST", "/components", Some(&provider)).map(drop)
    }

    /// Takes back the key that it signed with at first.
    pub fn remove_first_key(&self) -> Outcome {
        let all = self.administer("GET", "/components?type=org.keycloak.keys.KeyProvider", None)?.json()?;
        let first = all.as_array().into_iter().flatten().find(|c| c["name"] == "rsa-generated");
        let id = first.and_then(|c| c["id"].as_str()).ok_or_else(|| Fault(format!("no first key: {all}")))?;
        self.administer("DELETE", &format!("/components/{id}"), None).map(drop)
    }

    /// Ends every session of a user.
    pub fn log_out(&self, user: &str) -> Outcome {
        let found = self.administer("GET", &format!("/users?username={user}&exact=true"), None)?.json()?;
        let id = found[0]["id"].as_str().ok_or_else(|| Fault(format!("no `{user}`")))?.to_owned();
        self.administer("POST", &format!("/users/{id}/logout"), None).map(drop)
    }

    /// What it said last.
    pub fn last_words(&self) -> String {
        self.child.last_words()
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        // Its script may stand between: SIGTERM is passed on to Java, SIGKILL would leave Java behind.
        if self.child.stop(Duration::from_secs(30)).is_err() {
            let parent = self.child.id().to_string();
            let _ = run(Command::new("pkill").args(["-KILL", "-P", &parent]), Duration::from_secs(5));
        }
    }
}

/// All cookies of an answer, to be sent back.
fn cookies(reply: &Reply) -> String {
    let set = reply.headers.iter().filter(|(name, _)| name == "set-cookie");
    set.filter_map(|(_, value)| value.split(';').next()).collect::<Vec<_>>().join("; ")
}
