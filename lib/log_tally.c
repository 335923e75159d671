/* SPDX-License-Identifier: MIT */

/* How many pages each source has brought, and how much it will owe: for who looks at the log from outside, at an arena, and takes the
 * difference of two looks. Of the log's own consumer. Counted once a call, where its cause is noted; and what is counted is never needed
 * here. With the consumer's `causes` held. */

#include <string.h>

#include "log_internal.h"

/* When there is no room sources of a kind share an entry, and if there is none of that kind the last. */
static uint16_t share(struct superblock *super, const struct cause_label *label)
{
	uint16_t i = 0;

	while (i < MAX_TALLIES - 1 && !same_kind(&super->tallies[i].label, label))
		i++;
	copy_name(super->tallies[i].label.who, "several");
	return i;
}

uint16_t tally_of(struct vfd_log *log, const struct cause_label *label)
{
	struct superblock *super = log->super;
	uint16_t count = (uint16_t)super->tally_count;

	for (uint16_t i = 0; i < count; i++)
		if (super->tallies[i].label.granularity == label->granularity &&
		    !memcmp(&super->tallies[i].label, label, sizeof(*label)))
			return i;
	if (count == MAX_TALLIES)
		return share(super, label);
	super->tallies[count].label = *label;
	__atomic_store_n(&super->tally_count, count + UINT64_C(1), __ATOMIC_RELEASE);
	return count;
}

/* The culprit of one harvest may be another than that of the next. */
void log_defer(struct vfd_log *log, struct log_deferral *said, const struct log_source *source,
	       uint64_t bytes)
{
	struct vfd_consumer *main = &log->consumers[0];

	if (forked(&log->guard) || (!bytes && !said->bytes))
		return;
	pthread_mutex_lock(&main->causes);
	log->super->tallies[said->tally].deferred -= said->bytes;
	*said = (struct log_deferral){ bytes ? cause_label(main, source).tally : 0, bytes };
	log->super->tallies[said->tally].deferred += bytes;
	pthread_mutex_unlock(&main->causes);
}
