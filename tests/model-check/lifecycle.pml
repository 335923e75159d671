/* SPDX-License-Identifier: MIT */

/* lifecycle.pml: the law, for a container with a mediated and a physical group, checked in every order of events.
 *
 * Who acts: an owner (calls that need the container for themselves), workers (calls that share it), devices that write whenever they
 * can, and a kernel that fails, fails half, and takes groups away. Each step between two system calls is a step of its own, for a
 * device may write there. What is checked holds in every state, not only when a function returns:
 *
 *     a page that a device has written, and that was not copied since, is with the kernel, where the library will look,
 *     or owed as a whole, or on its way (scratch), or in the log, or in a batch whose copy is still to be made.
 *
 * A line under `#ifndef M_...` is a counter-measure of the library; run.sh leaves out one at a time: then the property must fail.
 * PAGES: how many, each a mapping of its own; a span has them all. Not in here: device logs, pins, devices held by other processes, and how the
 * log's planes and inboxes work (the unit tests have those). */

#ifndef PAGES
#define PAGES 1
#endif
#define MEDIATED 0
#define PHYSICAL 1
#define GROUPS	 2
#ifndef WORKERS
#define WORKERS 1
#endif
#define ACTORS	 3 /* who may have scratch: workers, and the owner */
#define OWNER	 2

mtype = { OK, EINVAL, EFAULT, ENOMEM, EBUSY };

/* ---- what nobody can see -------------------------------------------------------------------- */

bool written[PAGES]; /* since tracking began, and not copied since */
bool copied[PAGES];  /* by a batch that may be rolled back */
bool corrupt;	     /* the kernel wrote outside its own memory */

/* ---- the kernel ------------------------------------------------------------------------------- */

bool k_group[GROUPS], k_open[GROUPS], k_loud[GROUPS], k_torn[GROUPS];
bool k_started, k_large; /* k_large: the page size that the record was made for */
bool k_mapped[PAGES], k_record[PAGES];

#define k_alive	     (k_group[MEDIATED] || k_group[PHYSICAL])
#define k_page	     (k_group[PHYSICAL]) /* the page size is another with a physical group */
#define k_writes(g)  (k_group[g] && k_open[g] && k_loud[g])

/* ---- the library -------------------------------------------------------------------------------- */

bool l_group[GROUPS], l_attached, l_tracking, l_started, l_page;
bool l_mapped[PAGES], l_making[PAGES], l_owed[PAGES], l_uncertain[PAGES];
bool l_promised;     /* the call that has the container for itself will assume all before it returns */
bool l_open[GROUPS], l_loud[GROUPS];
bool l_settled;	     /* what was written until then was collected; any step of the epoch ends it */
bool same[ACTORS];   /* the epoch of a harvest on its way is still the one it began in */
bool scratch[6];     /* by actor and page */
bool log[PAGES], taken[PAGES], held[PAGES]; /* held: taken, and its copy still to be made */

#define writers	    (l_loud[MEDIATED] || l_loud[PHYSICAL])
#define drained	    (l_settled && !writers)
#define clean	    (!l_tracking || !l_attached || drained)
#define all_dirty   (l_attached && l_group[PHYSICAL])
#define unrecorded  (l_attached && !l_started)
#define owes(p)	    (l_tracking && l_mapped[p] && !(l_attached && drained) && (all_dirty || unrecorded || l_owed[p]))
#define deferred    (l_tracking && !(l_attached && drained) && (all_dirty || unrecorded || l_owed[0] || l_owed[PAGES - 1]))

/* The record is gone, and the library, which does not know it yet, will find that out when it asks. */
#define known(p)       (l_mapped[p] || l_making[p])
#define on_its_way_in(p) (l_making[p] && (all_dirty || unrecorded))
#define will_notice(p) (l_started && l_attached && known(p) && (!k_started || k_page != k_large))
#define recorded(p)    (l_started && l_attached && known(p) && k_started && k_record[p])
#define on_its_way(p)  (scratch[p] || scratch[PAGES + p] || scratch[2 * PAGES + p])
#define safe(p)	       (!written[p] || recorded(p) || will_notice(p) || owes(p) || on_its_way_in(p) || (l_promised && l_mapped[p]) || \
			on_its_way(p) || log[p] || held[p])

ltl law { [] (safe(0) && safe(PAGES - 1) && !corrupt) }

/* ---- the gate, and the queue of ranges ----------------------------------------------------------- */

byte inside;
bool closed, claimed[PAGES];

#define claim_all()   d_step { !claimed[0] && !claimed[PAGES - 1] -> claimed[0] = true; claimed[PAGES - 1] = true }
#define release_all() d_step { claimed[0] = false; claimed[PAGES - 1] = false }

#ifndef M_NO_GATE
#define enter()	   d_step { !closed -> inside++ }
#define leave()	   inside--
#define shut()	   d_step { !closed && !inside -> closed = true }
#define reopen()   closed = false
#else
#define enter()	   skip
#define leave()	   skip
#define shut()	   skip
#define reopen()   skip
#endif

/* ---- system calls ------------------------------------------------------------------------------------ */

inline k_forget_all()
{
	k_started = false;
	k_mapped[0] = false; k_mapped[PAGES - 1] = false;
	k_record[0] = false; k_record[PAGES - 1] = false
}

inline k_leave(g)
{
	k_group[g] = false;
	if
	:: !k_alive -> k_forget_all()
	:: else
	fi
}

inline k_unset(g, rc)
{
	d_step {
		if
		:: !k_group[g] -> rc = EINVAL
		:: k_group[g] && k_open[g] -> rc = EBUSY
		:: else -> k_leave(g); corrupt = corrupt || (k_started && k_page != k_large); rc = OK
		fi
	}
}

inline k_close(g)
{
	d_step {
		k_open[g] = false; k_loud[g] = false;
		if
		:: k_torn[g] && k_group[g] -> k_leave(g)
		:: else
		fi
	}
}

inline k_start(rc)
{
	atomic {
		if
		:: !k_alive -> rc = EINVAL
		:: k_alive && !k_started -> rc = ENOMEM
		:: k_alive ->
			k_started = true; k_large = k_page; rc = OK
		fi
	}
}

inline k_stop(rc)
{
	d_step {
		if
		:: !k_alive -> rc = EINVAL
		:: else ->
			k_started = false;
			k_record[0] = false; k_record[PAGES - 1] = false; rc = OK
		fi
	}
}

/* With a physical group it says "all", which the library does not ask for. EFAULT: the first page arrived, the others did not. */
inline k_get(me, rc)
{
	atomic {
		if
		:: !k_started || k_page != k_large -> rc = EINVAL
		:: k_started && k_page == k_large ->
			scratch[me * PAGES] = k_record[0]; k_record[0] = false;
			if
			:: scratch[me * PAGES + PAGES - 1] = scratch[me * PAGES + PAGES - 1] || k_record[PAGES - 1];
			   k_record[PAGES - 1] = false; rc = OK
			:: rc = EFAULT
			fi
		:: k_started -> rc = ENOMEM
		fi
	}
}

inline k_map(p, rc)
{
	atomic {
		if
		:: !k_alive -> rc = EINVAL
		:: k_alive -> k_mapped[p] = true; k_record[p] = false; rc = OK
		:: k_alive -> rc = ENOMEM
		fi
	}
}

/* gone: how much it says was unmapped. EFAULT is before the mapping goes, or after, with its bits delivered. */
inline k_unmap(me, p, bits, gone, rc)
{
	atomic {
		gone = false;
		if
		:: !k_alive || (bits && (!k_started || k_page != k_large)) -> rc = EINVAL
		:: else ->
			if
			:: !k_mapped[p] -> rc = OK
			:: k_mapped[p] ->
				if
				:: bits -> scratch[me * PAGES + p] = k_record[p]
				:: !bits
				fi;
				k_mapped[p] = false; k_record[p] = false;
				if
				:: gone = true; rc = OK
				:: bits -> rc = EFAULT
				fi
			:: k_mapped[p] && bits -> rc = EFAULT
			fi
		fi
	}
}

/* ---- space: what is owed, and when nothing can be lost ------------------------------------------------ */

inline step_epoch()
{
#ifndef M_EPOCH_STANDS
	l_settled = false; same[0] = false; same[1] = false; same[OWNER] = false
#else
	skip
#endif
}

inline merge(me)
{
	d_step {
		log[0] = log[0] || scratch[me * PAGES];
		log[PAGES - 1] = log[PAGES - 1] || scratch[me * PAGES + PAGES - 1];
		scratch[me * PAGES] = false; scratch[me * PAGES + PAGES - 1] = false
	}
}

inline assume()
{
	log[0] = log[0] || (l_mapped[0] && l_tracking);
	log[PAGES - 1] = log[PAGES - 1] || (l_mapped[PAGES - 1] && l_tracking)
}

/* For what is written from here on `unrecorded` answers. */
inline lost()
{
	l_started = false;
#ifndef M_LOSS_NOT_ASSUMED
	d_step { assume() }
#endif
	if
	:: !k_alive -> l_attached = false
	:: else
	fi
}

inline pay()
{
	d_step {
#ifndef M_DEFERRED_FORGOTTEN
		log[0] = log[0] || owes(0);
		log[PAGES - 1] = log[PAGES - 1] || owes(PAGES - 1);
#endif
		l_owed[0] = false; l_owed[PAGES - 1] = false
	}
}

inline owe_all()
{
	l_owed[0] = l_mapped[0]; l_owed[PAGES - 1] = l_mapped[PAGES - 1]
}

inline owe_nothing()
{
	l_owed[0] = false; l_owed[PAGES - 1] = false
}

/* ---- when a harvest was the last one ------------------------------------------------------------------- */

#ifndef M_FAILURE_DRAINS
#define worked(rc) (rc == OK)
#else
#define worked(rc) true
#endif
#ifndef M_DEFERRED_DRAINS
#define complete(final) (final || !deferred)
#else
#define complete(final) true
#endif
#ifndef M_WRITERS_BEFORE_FORGOTTEN
#define nobody_before(loud) (!loud)
#else
#define nobody_before(loud) true
#endif
#ifndef M_EPOCH_FORGOTTEN
#define nobody_since(me) (!writers && same[me])
#else
#define nobody_since(me) (!writers)
#endif

/* ---- harvest --------------------------------------------------------------------------------------------- */

inline harvest_record(me, rc)
{
	if
	:: l_attached && !l_group[PHYSICAL] && l_started ->
		claim_all();
		k_get(me, rc);
#ifdef M_FAULT_DROPS_SCRATCH
		if
		:: rc != OK -> d_step { scratch[me * PAGES] = false; scratch[me * PAGES + PAGES - 1] = false }
		:: else
		fi;
#endif
		merge(me);
		if
		:: rc == EINVAL ->
#ifndef M_EINVAL_BELIEVED
			lost();
#endif
			rc = OK /* what was lost is assumed: it counts as collected */
		:: else
		fi;
		release_all()
	:: else -> rc = OK
	fi
}

inline harvest(me, final, loud, rc)
{
	d_step { same[me] = true; loud = writers }
	harvest_record(me, rc);
	if
	:: final -> pay()
	:: else
	fi;
	d_step {
		if
		:: worked(rc) && complete(final) && nobody_before(loud) && nobody_since(me)
			-> l_settled = true
		:: else
		fi;
		same[me] = false; loud = false
	}
}

/* ---- map and unmap ------------------------------------------------------------------------------------------ */

/* Who finds the record lost, before the mapping is in the table, does not assume it. */
inline map_attached(me, p, was, loud, rc)
{
	d_step { was = l_started; same[me] = true; loud = writers; l_making[p] = true }
	k_map(p, rc);
	d_step {
		if
		:: rc == OK ->
			l_mapped[p] = true;
#ifndef M_MAP_UNSEEN
			if
			:: loud || writers || !same[me] -> step_epoch()
			:: else
			fi;
#endif
#ifndef M_MAP_DURING_LOSS
			log[p] = log[p] || (was && !l_started && l_tracking)
#endif
		:: else
		fi;
		l_making[p] = false; was = false; same[me] = false; loud = false
	}
}

inline map(me, p, was, loud, rc)
{
	d_step { !claimed[p] -> claimed[p] = true }
	if
	:: !l_mapped[p] && l_attached -> map_attached(me, p, was, loud, rc)
	:: !l_mapped[p] && !l_attached -> l_mapped[p] = true
	:: l_mapped[p]
	fi;
	claimed[p] = false
}

/* What is owed as a whole enters the log when no device can reach the page any more. */
inline forget(p)
{
	d_step {
#if !defined M_UNMAP_FORGETS_OWED && !defined M_OWED_BEFORE_UNMAP
		log[p] = log[p] || owes(p);
#endif
		l_mapped[p] = false; l_owed[p] = false; l_uncertain[p] = false
	}
}

inline k_unmap_collecting(me, p, gone, rc)
{
#ifndef M_PLAIN_UNMAP
	k_unmap(me, p, l_started, gone, rc);
#else
	k_unmap(me, p, false, gone, rc);
#endif
	merge_unmapped(me, p)
}

/* After half a failure "nothing was there" means that it is gone; else nobody knows where its bits went. */
inline unmapped(p, gone)
{
	if
	:: gone || l_uncertain[p] -> forget(p)
	:: else -> d_step { log[p] = log[p] || l_tracking; l_uncertain[p] = true }
	fi
}

inline unmap_attached(me, p, gone, rc)
{
	k_unmap_collecting(me, p, gone, rc);
	if
	:: rc == EFAULT ->
#ifndef M_EFAULT_IS_GONE
		l_uncertain[p] = true;
		k_unmap_collecting(me, p, gone, rc)
#else
		rc = OK; gone = true
#endif
	:: else
	fi;
	if
	:: rc == OK -> unmapped(p, gone)
#ifndef M_UNMAP_EINVAL_BELIEVED
	:: rc == EINVAL -> lost()
#else
	:: rc == EINVAL -> d_step { l_mapped[p] = false; l_owed[p] = false }
#endif
	:: else
	fi
}

inline unmap(me, p, gone, rc)
{
	d_step { !claimed[p] -> claimed[p] = true }
#ifdef M_OWED_BEFORE_UNMAP
	d_step { log[p] = log[p] || owes(p); l_owed[p] = false }
#endif
	if
	:: l_mapped[p] && l_attached -> unmap_attached(me, p, gone, rc)
	:: l_mapped[p] && !l_attached -> forget(p)
	:: !l_mapped[p]
	fi;
	d_step { rc = OK; gone = false; claimed[p] = false }
}

/* With a physical group there the bits say nothing: all is owed. */
inline merge_unmapped(me, p)
{
	d_step {
#ifndef M_UNMAP_DROPS_BITS
		log[p] = log[p] || scratch[me * PAGES + p];
#endif
		scratch[me * PAGES + p] = false
	}
}

/* ---- the log's consumer ------------------------------------------------------------------------------------------ */

inline take(p)
{
	d_step {
		log[p] && !taken[p] -> log[p] = false; taken[p] = true; held[p] = true
	}
}

/* The batch's owner reads the memory, at some time. */
inline copy(p)
{
	d_step {
		held[p] -> held[p] = false; copied[p] = written[p]; written[p] = false
	}
}

inline commit(p)
{
	d_step {
		taken[p] && !held[p] -> taken[p] = false; copied[p] = false
#ifdef M_COMMIT_CLEARS
		; log[p] = false
#endif
	}
}

inline rollback(p)
{
	d_step {
		taken[p] ->
#ifndef M_ROLLBACK_FORGETS
		log[p] = true;
#endif
		taken[p] = false; held[p] = false; written[p] = written[p] || copied[p]; copied[p] = false
	}
}

/* ---- devices ---------------------------------------------------------------------------------------------------- */

/* It counts as able to write before it is. */
inline open_device(g)
{
	if
	:: l_group[g] && !l_open[g] ->
#ifndef M_OPEN_COUNTED_LATE
		d_step { step_epoch(); l_loud[g] = true; l_open[g] = true }
#endif
		d_step {
			if
			:: k_group[g] && !k_torn[g] -> k_open[g] = true; k_loud[g] = true
			:: else
			fi
		}
#ifdef M_OPEN_COUNTED_LATE
		d_step { step_epoch(); l_loud[g] = true; l_open[g] = true }
#endif
	:: else
	fi
}

inline close_device(g)
{
	if
	:: l_open[g] -> k_close(g); l_open[g] = false; l_loud[g] = false
	:: else
	fi
}

inline quiesce(g)
{
	if
	:: l_open[g] ->
#ifndef M_QUIESCE_BELIEVED
		d_step { k_loud[g] = false }
#endif
		l_loud[g] = false
	:: l_open[g] /* it cannot be */
	:: !l_open[g]
	fi
}

inline resume(g)
{
	if
	:: l_open[g] && !l_loud[g] ->
#ifndef M_RESUME_COUNTED_LATE
		d_step { step_epoch(); l_loud[g] = true }
#endif
		d_step { k_loud[g] = k_open[g] }
#ifdef M_RESUME_COUNTED_LATE
		d_step { step_epoch(); l_loud[g] = true }
#endif
	:: else
	fi
}

/* ---- start and stop ---------------------------------------------------------------------------------------------- */

inline begin()
{
	d_step { step_epoch(); l_settled = !writers }
}

inline start(rc)
{
	rc = OK;
	if
	:: l_attached && !l_started ->
		k_stop(rc); /* one that was given up may run yet, for another page size */
		k_start(rc);
		d_step {
			if
			:: rc == OK ->
#ifndef M_RESTART_FORGIVES
				assume();
#endif
				l_started = true; l_page = k_page; l_tracking = true;
				step_epoch(); l_settled = !writers
			:: else
			fi
		}
	:: !l_attached && !l_tracking -> begin(); l_tracking = true
	:: else
	fi
}

inline end_tracking()
{
	d_step { l_started = false; l_tracking = false; owe_nothing() }
}

inline stop(collect, loud, rc)
{
	rc = OK;
	if
	:: l_tracking && collect -> harvest(OWNER, true, loud, rc)
	:: else
	fi;
	if
#ifndef M_STOP_WHILE_DIRTY
	:: l_tracking && rc == OK && clean ->
#else
	:: l_tracking && rc == OK ->
#endif
		if
		:: l_started -> k_stop(rc)
		:: else
		fi;
		if
		:: rc == EINVAL -> l_attached = false
		:: else
		fi;
		end_tracking()
	:: else
	fi
}

/* ---- attach and detach ------------------------------------------------------------------------------------------- */

/* The kernel may have taken the last group away without a word. */
inline look_attached()
{
	if
	:: l_attached && !k_alive -> lost()
	:: else
	fi
}

/* Groups came or went, and the page size with them. The marks come after START. */
inline recheck(rc)
{
	rc = OK;
	if
	:: l_page != k_page && l_started ->
		l_promised = true;
		k_stop(rc); k_start(rc);
		d_step {
#ifndef M_PAGE_SIZE_FORGIVES
			assume();
#endif
			l_started = (rc == OK); l_promised = false
		}
	:: else
	fi;
	l_page = k_page
}

inline replay(p, rc)
{
	if
	:: rc == OK && l_mapped[p] -> k_map(p, rc)
	:: else
	fi
}

inline begin_space(rc)
{
	d_step { rc = OK; l_attached = true; l_page = k_page }
	if
	:: l_tracking -> k_start(rc); l_started = (rc == OK)
	:: else
	fi;
	replay(0, rc);
	if
	:: PAGES > 1 -> replay(PAGES - 1, rc)
	:: else
	fi
}

inline detached()
{
	d_step {
		l_attached = false; l_started = false; owe_nothing();
		l_loud[MEDIATED] = false; l_loud[PHYSICAL] = false;
		step_epoch(); l_settled = true
	}
}

inline attach(g, first, rc)
{
	if
	:: !l_group[g] && !k_group[g] && !k_torn[g] ->
		look_attached();
		first = !l_attached;
		d_step { k_group[g] = true }
		if
		:: first -> begin_space(rc)
		:: else -> recheck(rc)
		fi;
		if
		:: rc == OK -> l_group[g] = true
		:: rc != OK && first -> k_unset(g, rc); detached()
		:: rc != OK && !first -> k_unset(g, rc); recheck(rc)
		fi;
		first = false
	:: else
	fi
}

/* After a physical group what it wrote is nowhere, nor what the others wrote beside it. */
inline group_left(g, was, rc)
{
	if
	:: !l_group[1 - g] -> l_group[g] = false; detached()
	:: else ->
		d_step {
			l_group[g] = false;
#ifndef M_PHYSICAL_LEAVES_QUIETLY
			if
			:: was && !all_dirty && l_tracking && !drained -> owe_all()
			:: else
			fi
#endif
		}
		recheck(rc)
	fi
}

inline drain(g, final, loud, rc)
{
	quiesce(g);
#ifndef M_NO_HARVEST_OPEN
	harvest(OWNER, final, loud, rc);
#else
	rc = OK;
#endif
	if
	:: rc == OK ->
		close_device(g);
#ifndef M_NO_HARVEST_CLOSED
		harvest(OWNER, final, loud, rc)
#endif
	:: else
	fi
}

inline detach(g, collect, last, paused, loud, rc)
{
	if
	:: l_group[g] ->
		last = !l_group[1 - g]; rc = OK; paused = false;
		if
		:: collect -> drain(g, last, loud, rc)
		:: !collect && l_open[g] -> rc = EBUSY
		:: else
		fi;
#ifndef M_DETACH_WHILE_DIRTY
		if
		:: rc == OK && last && !clean -> rc = EBUSY
		:: else
		fi;
#endif
#ifndef M_NO_PAUSE
		if
		:: rc == OK && g == PHYSICAL && !last ->
			k_stop(rc);
			d_step { paused = l_started && rc == OK; l_started = l_started && rc != OK }
		:: else
		fi;
#endif
		if
		:: rc == OK ->
			was_dirty = all_dirty;
			k_unset(g, rc);
			if
			:: rc == EBUSY -> d_step { step_epoch() }
			:: else -> group_left(g, was_dirty, rc); rc = OK
			fi
		:: else
		fi;
		if
		:: paused && l_attached -> k_start(rc); l_started = (rc == OK); l_page = k_page
		:: else
		fi;
		last = false; paused = false
	:: else
	fi
}

inline close_collecting(g, loud, rc)
{
	if
	:: l_open[g] -> drain(g, false, loud, rc)
	:: else
	fi
}

inline unplug(g)
{
	d_step {
		if
		:: k_group[g] && !k_torn[g] ->
			k_torn[g] = true;
			if
			:: !k_open[g] -> k_leave(g)
			:: else
			fi
		:: !l_group[g] && !k_group[g] -> k_torn[g] = false
		:: else
		fi;
		g = 0
	}
}

/* ---- who acts ------------------------------------------------------------------------------------------------------ */

active proctype Owner()
{
	mtype rc = OK;
	bool loud, last, paused, first, was_dirty;

	do
	:: shut();
	   if
	   :: true -> attach(MEDIATED, first, rc)
	   :: true -> attach(PHYSICAL, first, rc)
	   :: true -> detach(MEDIATED, true, last, paused, loud, rc)
	   :: true -> detach(MEDIATED, false, last, paused, loud, rc)
	   :: true -> detach(PHYSICAL, true, last, paused, loud, rc)
	   :: true -> detach(PHYSICAL, false, last, paused, loud, rc)
	   :: true -> open_device(MEDIATED)
	   :: true -> open_device(PHYSICAL)
	   :: true -> close_collecting(MEDIATED, loud, rc)
	   :: true -> close_collecting(PHYSICAL, loud, rc)
	   :: clean -> close_device(MEDIATED)
	   :: clean -> close_device(PHYSICAL)
	   :: true -> start(rc)
	   :: true -> stop(true, loud, rc)
	   :: true -> stop(false, loud, rc)
	   fi;
	   d_step { rc = OK; was_dirty = false }
	   reopen()
	od
}

proctype Worker(byte me)
{
	mtype rc = OK;
	bool loud, gone;
	byte p;

	do
	:: enter();
	   if
	   :: l_tracking -> harvest(me, false, loud, rc)
	   :: l_tracking -> harvest(me, true, loud, rc)
	   :: true -> map(me, 0, gone, loud, rc)
	   :: true -> unmap(me, 0, gone, rc)
#if PAGES > 1
	   :: true -> map(me, PAGES - 1, gone, loud, rc)
	   :: true -> unmap(me, PAGES - 1, gone, rc)
#endif
	   :: true -> quiesce(MEDIATED)
	   :: true -> quiesce(PHYSICAL)
	   :: true -> resume(MEDIATED)
	   :: true -> resume(PHYSICAL)
	   fi;
	   rc = OK;
	   leave()
	od
}

/* Who reads the log needs no container. */
proctype Consumer(byte p)
{
	do
	:: take(p)
	:: copy(p)
	:: commit(p)
	:: rollback(p)
	od
}

proctype Device(byte g; byte p)
{
	do
	:: d_step {
		k_writes(g) && k_mapped[p] ->
		written[p] = written[p] || l_tracking;
		k_record[p] = k_record[p] || (g == MEDIATED && k_started)
	   }
	od
}

/* Unplugged: at once, or when its device is closed. Plugged in again once the library has let go. */
#ifndef NO_PLUG
active proctype Plug()
{
	byte g;

	do
	:: g = MEDIATED; unplug(g)
	:: g = PHYSICAL; unplug(g)
	od
}
#endif

init
{
	atomic {
		byte i;
		for (i : 0 .. WORKERS - 1) {
			run Worker(i)
		}
		for (i : 0 .. PAGES - 1) {
#ifndef NO_CONSUMER
			run Consumer(i);
#endif
			run Device(MEDIATED, i);
			run Device(PHYSICAL, i)
		}
	}
}
