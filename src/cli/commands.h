/* SPDX-License-Identifier: MIT */
#ifndef DROVER_CLI_COMMANDS_H
#define DROVER_CLI_COMMANDS_H

struct command;

extern const struct command command_audit;
extern const struct command command_complete; /* hidden: for the shells */
extern const struct command command_console;
extern const struct command command_cp;
extern const struct command command_dial; /* hidden: for the ProxyCommand of ssh */
extern const struct command command_doctor;
extern const struct command command_down;
extern const struct command command_events;
extern const struct command command_exec;
extern const struct command command_fork;
extern const struct command command_forward;
extern const struct command command_help;
extern const struct command command_image;
extern const struct command command_kill;
extern const struct command command_logs;
extern const struct command command_ls;
extern const struct command command_net;
extern const struct command command_pause;
extern const struct command command_prune;
extern const struct command command_reset;
extern const struct command command_restart;
extern const struct command command_resume;
extern const struct command command_rm;
extern const struct command command_run;
extern const struct command command_snapshot;
extern const struct command command_ssh;
extern const struct command command_ssh_config;
extern const struct command command_stats;
extern const struct command command_timeline;
extern const struct command command_top;
extern const struct command command_up;
extern const struct command command_version;
extern const struct command command_wait;

#endif
