//! `onggi login` and `onggi logout`: credentials for registries, kept where Docker and Podman look for theirs.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::sync::Arc;

use clap::{Arg, ArgMatches};
use onggi_registry::{AuthFiles, Credential, Stored};

use crate::command::{Command, Group};
use crate::context::Context;
use crate::error::CliError;
use crate::flags::{self, is, switch, text, value};
use crate::terminal::raw::read_unseen;
use crate::transfer::Person;

pub(crate) const COMMAND: Command = Command {
    names: &["login"],
    group: Group::Images,
    about: "Log in to a registry",
    build,
    run,
    failure: 1,
    examples: &[
        ("login", "Docker Hub; asks for user and password"),
        ("login -u me --password-stdin ghcr.io < token", "From a script"),
    ],
};

pub(crate) const LOGOUT: Command = Command {
    names: &["logout"],
    group: Group::Images,
    about: "Forget the credentials for a registry",
    build: build_logout,
    run: log_out,
    failure: 1,
    examples: &[("logout ghcr.io", "This one")],
};

const HUB: &str = "docker.io";
/// A password longer than this is a mistake.
const PASSWORD_LIMIT: u64 = 64 << 10;

fn build() -> clap::Command {
    flags::command("onggi login [OPTIONS] [SERVER]")
        .arg(value("username", Some('u'), "NAME", "Who you are there"))
        .arg(value("password", Some('p'), "PASSWORD", "Seen by everybody who can list processes; better:"))
        .arg(switch("password-stdin", None, "Read the password from standard input"))
        .arg(server())
}

fn build_logout() -> clap::Command {
    flags::command("onggi logout [SERVER]").arg(server())
}

fn server() -> Arg {
    Arg::new("server").value_name("SERVER").help("The registry's host; Docker Hub if left out")
}

fn run(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let registry = registry(matches)?;
    let from_stdin = is(matches, "password-stdin");
    let user = text(matches, "username").filter(|user| !user.is_empty());
    let typed = text(matches, "password").filter(|password| !password.is_empty());
    if from_stdin && typed.is_some() {
        return Err(CliError::invalid(
            "conflicting options: cannot specify both --password and --password-stdin",
        ));
    }
    if from_stdin && user.is_none() {
        return Err(CliError::invalid("the --password-stdin option requires --username to be set"));
    }
    if typed.is_some() {
        context.warn(
            "using --password on the command line is insecure: other users can see it. Use --password-stdin.",
        );
    }
    let user = match user {
        Some(user) => user.to_owned(),
        None => ask_user(context)?,
    };
    let password = match typed {
        Some(password) => password.to_owned(),
        None if from_stdin => read_password()?,
        None => ask_password()?,
    };
    if password.is_empty() {
        return Err(CliError::invalid("password is empty"));
    }
    let credential = Credential::Password { user, password };
    context.engine()?.log_in(&registry, credential.clone(), Arc::new(Person))?;
    match AuthFiles::from_environment().store(&registry, &credential, &Person)? {
        Stored::WithHelper(_) => {}
        Stored::InFile(path) => {
            let text = format!(
                "your credentials are stored unencrypted in {}; `credsStore` there names a credential helper that does better",
                path.display()
            );
            context.warn(&text);
        }
    }
    context.line("Login Succeeded")?;
    Ok(0)
}

fn log_out(context: &Context, matches: &ArgMatches) -> Result<u8, CliError> {
    let registry = registry(matches)?;
    let text = if AuthFiles::from_environment().erase(&registry, &Person)? {
        format!("Removing login credentials for {registry}")
    } else {
        format!("Not logged in to {registry}")
    };
    context.line(&text)?;
    Ok(0)
}

/// `https://ghcr.io/` is `ghcr.io`, and Docker Hub has one name.
fn registry(matches: &ArgMatches) -> Result<String, CliError> {
    let typed = text(matches, "server").unwrap_or(HUB);
    let host = typed.strip_prefix("https://").or_else(|| typed.strip_prefix("http://")).unwrap_or(typed);
    let host = host.trim_end_matches('/');
    let host = host.strip_suffix("/v1").or_else(|| host.strip_suffix("/v2")).unwrap_or(host);
    match host {
        "index.docker.io" | "registry-1.docker.io" | HUB => Ok(HUB.to_owned()),
        _ if host.is_empty() || host.contains('/') => Err(CliError::invalid(format!(
            "{typed:?} is no registry: write its host, such as ghcr.io or localhost:5000"
        ))),
        _ => Ok(host.to_owned()),
    }
}

fn interactive() -> Result<(), CliError> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    Err(CliError::invalid("cannot perform an interactive login from a non-TTY device")
        .hint("give --username and --password-stdin"))
}

fn ask_user(context: &Context) -> Result<String, CliError> {
    interactive()?;
    context.print("Username: ")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|error| CliError::io("read the user's name", &error))?;
    match line.trim() {
        "" => Err(CliError::invalid("username is empty")),
        user => Ok(user.to_owned()),
    }
}

fn ask_password() -> Result<String, CliError> {
    interactive()?;
    read_unseen("Password: ")
}

fn read_password() -> Result<String, CliError> {
    let mut text = String::new();
    let read = io::stdin().lock().take(PASSWORD_LIMIT).read_to_string(&mut text);
    read.map_err(|error| CliError::io("read the password", &error))?;
    // Editors and `echo` end it with a line end, which is not part of it.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
