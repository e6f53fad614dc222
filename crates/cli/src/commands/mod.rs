//! Every command, one file each, and the table by which they are found.

mod attach;
mod complete;
mod completion;
mod config_show;
mod container_finish;
mod container_prune;
mod cp;
mod create;
mod diff;
mod doctor;
mod events;
mod exec;
mod export;
mod hello;
mod history;
mod host_checks;
mod image_diff;
mod image_prune;
mod image_tree;
mod image_unpack_layer;
mod images;
mod import;
pub(crate) mod info;
mod inspect;
mod kill;
mod load;
mod login;
mod logs;
mod man;
mod network_checks;
mod network_connect;
mod network_create;
mod network_inspect;
mod network_ls;
mod network_prune;
mod network_rebuild;
mod network_rm;
mod pause;
mod port;
mod pruning;
mod ps;
mod pull;
mod push;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod start;
mod stats;
mod stop;
mod system_check;
mod system_df;
mod system_prune;
mod system_reset;
mod system_upgrade;
mod tag;
mod top;
mod update;
mod version;
mod volume_create;
mod volume_inspect;
mod volume_ls;
mod volume_prune;
mod volume_rm;
mod wait;

use crate::command::Command;

/// In the order in which they are shown.
pub(crate) const TABLE: &[&Command] = &[
    &hello::COMMAND,
    &run::COMMAND,
    &create::COMMAND,
    &start::COMMAND,
    &stop::COMMAND,
    &restart::COMMAND,
    &kill::COMMAND,
    &pause::COMMAND,
    &pause::UNPAUSE,
    &rename::COMMAND,
    &update::COMMAND,
    &rm::COMMAND,
    &container_prune::COMMAND,
    &wait::COMMAND,
    &ps::COMMAND,
    &port::COMMAND,
    &top::COMMAND,
    &stats::COMMAND,
    &logs::COMMAND,
    &exec::COMMAND,
    &cp::COMMAND,
    &diff::COMMAND,
    &export::COMMAND,
    &attach::COMMAND,
    &inspect::COMMAND,
    &inspect::CONTAINER,
    &events::COMMAND,
    &images::COMMAND,
    &pull::COMMAND,
    &push::COMMAND,
    &load::COMMAND,
    &import::COMMAND,
    &save::COMMAND,
    &tag::COMMAND,
    &history::COMMAND,
    &image_tree::COMMAND,
    &image_diff::COMMAND,
    &image_unpack_layer::COMMAND,
    &rmi::COMMAND,
    &image_prune::COMMAND,
    &inspect::IMAGE,
    &login::COMMAND,
    &login::LOGOUT,
    &volume_ls::COMMAND,
    &volume_create::COMMAND,
    &volume_inspect::COMMAND,
    &volume_rm::COMMAND,
    &volume_prune::COMMAND,
    &network_ls::COMMAND,
    &network_create::COMMAND,
    &network_inspect::COMMAND,
    &network_connect::COMMAND,
    &network_connect::DISCONNECT,
    &network_rm::COMMAND,
    &network_prune::COMMAND,
    &network_rebuild::COMMAND,
    &doctor::COMMAND,
    &info::COMMAND,
    &version::COMMAND,
    &system_df::COMMAND,
    &system_prune::COMMAND,
    &system_check::COMMAND,
    &system_reset::COMMAND,
    &system_upgrade::COMMAND,
    &config_show::COMMAND,
    &completion::COMMAND,
    &complete::COMMAND,
    &man::COMMAND,
    &container_finish::COMMAND,
];

/// The first words of two-word names.
pub(crate) const NOUNS: &[(&str, &str)] = &[
    ("container", "Containers: programs that run from images"),
    ("image", "Images: what containers start from"),
    ("volume", "Volumes: directories that outlive their containers"),
    ("network", "Networks: who reaches whom, and by which names"),
    ("system", "This host's store and records"),
    ("config", "Settings"),
];

const LIFE: &str = "it arrives with the rest of the engine's work";
const REGISTRY: &str = "it arrives with the tools for images";
const BUILD: &str = "it arrives with the builder; `onggi import` makes an image of a tar";
const NEVER: &str = "Onggi runs clusters through Kubernetes";

/// Docker's commands that are not built, each with when it comes.
pub(crate) const UNBUILT: &[(&str, &str)] = &[
    ("build", BUILD),
    ("builder", BUILD),
    ("buildx", BUILD),
    ("bake", BUILD),
    ("commit", BUILD),
    ("container commit", BUILD),
    ("image build", BUILD),
    ("checkpoint", LIFE),
    ("compose", "it arrives after networks"),
    ("context", "there is one host, this one"),
    ("manifest", REGISTRY),
    ("node", NEVER),
    ("plugin", "Onggi has no plug-ins"),
    ("search", "registries have no search that all share; Docker Hub's is at https://hub.docker.com"),
    ("secret", NEVER),
    ("serve", "it arrives with the doors to other programs"),
    ("service", NEVER),
    ("stack", NEVER),
    ("swarm", NEVER),
];
