/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where reeve-view(8) shows the host's files as runs see them. Behind a directory that only root
 * can enter, and outside of /run/reeve, so that nobody who removes that comes upon it. */
#define REEVE_VIEW_DIR "/run/reeve-view"
#define REEVE_VIEW     REEVE_VIEW_DIR "/root"
