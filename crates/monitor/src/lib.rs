//! The parent of a sandbox's containers: terminals, logs, exit statuses; and its protocol.
