//! The solver: cvc5, found and asked; one process a worker, each question with a time limit.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use cedar_policy::{EntityUid, Policy, PolicyId, RequestEnv, Schema};
use cedar_policy_symcc::err::Error;
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, Env};
use drape_policy::guarantees::question_schema;
use serde_json::{Value, json};

/// Where cvc5 is, and how long it may think.
#[derive(Clone, Debug)]
pub struct Solver {
    path: PathBuf,
    timeout: Duration,
}

/// Why nothing can be proved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SolverFault {
    /// It is not there.
    #[error(
        "the solver `{0}` cannot be started: {1}\n  help: `apt-get install cvc5`, or name another one in the environment as `CVC5`"
    )]
    Missing(String, String),
    /// It is something else, or too old.
    #[error(
        "`{0}` is no cvc5 of version 1.0.3 or newer: it says `{1}`\n  help: name one in the environment as `CVC5`"
    )]
    Version(String, String),
}

const OLDEST: [u32; 3] = [1, 0, 3];

impl Solver {
    /// The one that `CVC5` names, else `cvc5` on the path. `timeout` is for one question.
    pub fn find(timeout: Duration) -> Result<Self, SolverFault> {
        Self::at(std::env::var_os("CVC5").map_or_else(|| "cvc5".into(), PathBuf::from), timeout)
    }

    /// That one.
    pub fn at(path: PathBuf, timeout: Duration) -> Result<Self, SolverFault> {
        let name = path.display().to_string();
        let output = std::process::Command::new(&path)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| SolverFault::Missing(name.clone(), e.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let first = text.lines().next().unwrap_or_default().trim();
        let is_cvc5 = first.contains("cvc5");
        match version(first) {
            Some(version) if is_cvc5 && version >= OLDEST => Ok(Self { path, timeout }),
            _ => Err(SolverFault::Version(name, first.to_owned())),
        }
    }

    /// A worker's own conversation with it.
    pub(crate) fn session(&self) -> Result<Session, String> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        let schema = question_schema().map_err(|e| e.to_string())?;
        let type_name = |name: &str| name.parse().map_err(|e| format!("`{name}`: {e}"));
        let action: EntityUid = "Action::\"ask\"".parse().map_err(|e| format!("`ask`: {e}"))?;
        let env = RequestEnv::new(type_name("User")?, action, type_name("Category")?);
        Ok(Session { solver: self.clone(), runtime, schema, env, compiler: None })
    }
}

/// `This is cvc5 version 1.0.3` → 1, 0, 3.
fn version(line: &str) -> Option<[u32; 3]> {
    let word = line.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut parts = word.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let mut next = || parts.next().and_then(Result::ok);
    Some([next()?, next()?, next().unwrap_or(0)])
}

/// What the solver found.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// No caller, record and moment.
    Nothing,
    /// This one.
    Model(Box<Env>),
    /// It did not say, and why.
    Unknown(String),
}

/// One process, started when it is first needed and again after it failed.
pub(crate) struct Session {
    solver: Solver,
    runtime: tokio::runtime::Runtime,
    schema: Schema,
    env: RequestEnv,
    compiler: Option<CedarSymCompiler<LocalSolver>>,
}

impl Session {
    /// Some state in which the expression holds.
    pub(crate) fn holds(&mut self, expression: &Value) -> Found {
        self.ask(expression, false)
    }

    /// Some state in which it errs.
    pub(crate) fn errs(&mut self, expression: &Value) -> Found {
        self.ask(expression, true)
    }

    fn ask(&mut self, expression: &Value, errs: bool) -> Found {
        let compiled = match self.compile(expression) {
            Ok(compiled) => compiled,
            Err(why) => return Found::Unknown(why),
        };
        let compiler = match self.compiler.take() {
            Some(compiler) => Ok(compiler),
            None => self.start(),
        };
        let mut compiler = match compiler {
            Ok(compiler) => compiler,
            Err(why) => return Found::Unknown(why),
        };
        // The solver keeps its own time; this is for one that does not.
        let patience = self.solver.timeout * 2 + Duration::from_secs(5);
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(patience, async {
                if errs {
                    compiler.check_never_errors_with_counterexample_opt(&compiled).await
                } else {
                    compiler.check_never_matches_with_counterexample_opt(&compiled).await
                }
            })
            .await
        });
        match answer {
            Ok(Ok(found)) => {
                self.compiler = Some(compiler);
                found.map_or(Found::Nothing, |env| Found::Model(Box::new(env)))
            }
            // A process that failed in whatever way is not asked again.
            Ok(Err(Error::SolverUnknown)) => {
                Found::Unknown(format!("the solver did not know within {} s", self.solver.timeout.as_secs()))
            }
            Ok(Err(e)) => Found::Unknown(e.to_string()),
            Err(_) => Found::Unknown("the solver did not answer".to_owned()),
        }
    }

    fn start(&self) -> Result<CedarSymCompiler<LocalSolver>, String> {
        let _inside = self.runtime.enter();
        let mut command = tokio::process::Command::new(&self.solver.path);
        let limit = format!("--tlimit-per={}", self.solver.timeout.as_millis());
        command.args(["--lang", "smt", &limit]).kill_on_drop(true);
        let process = LocalSolver::from_command(&mut command).map_err(|e| e.to_string())?;
        CedarSymCompiler::new(process).map_err(|e| e.to_string())
    }

    fn compile(&self, expression: &Value) -> Result<CompiledPolicy, String> {
        let policy = as_policy(expression)?;
        CompiledPolicy::compile(&policy, &self.env, &self.schema).map_err(|error| match error {
            Error::PolicyNotWellTyped { errs } => {
                let all: Vec<String> = errs.iter().map(ToString::to_string).collect();
                format!("what the prover made of it is not well typed: {}", all.join("; "))
            }
            other => other.to_string(),
        })
    }
}

/// An expression as the one policy of a question.
pub(crate) fn as_policy(expression: &Value) -> Result<Policy, String> {
    let policy = json!({
        "effect": "permit",
        "principal": { "op": "All" },
        "action": { "op": "==", "entity": { "type": "Action", "id": "ask" } },
        "resource": { "op": "All" },
        "conditions": [{ "kind": "when", "body": expression }],
    });
    Policy::from_json(Some(PolicyId::new("question")), policy).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version("This is cvc5 version 1.0.3"), Some([1, 0, 3]));
        assert_eq!(version("This is cvc5 version 1.2.1 [git tag 1.2.1]"), Some([1, 2, 1]));
        assert_eq!(version("This is cvc5 version 1.10"), Some([1, 10, 0]));
        assert!(version("1.10.0 cvc5") > version("1.9.9 cvc5") && version("nothing").is_none());
    }

    #[test]
    fn what_is_no_solver_is_told_apart_from_none() {
        let fault = |path: &str| Solver::at(path.into(), Duration::from_secs(1)).unwrap_err();
        let missing = fault("/nowhere/cvc5");
        assert!(
            matches!(missing, SolverFault::Missing(..))
                && missing.to_string().contains("apt-get install cvc5")
        );
        assert!(matches!(fault("true"), SolverFault::Version(..)));
    }
}
