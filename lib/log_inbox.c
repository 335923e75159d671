/* SPDX-License-Identifier: MIT */

/* Marking without a lock. A marker sets bits in the inbox of the region, which all consumers share; whoever holds the stripe
 * *folds* it: takes the bits out and owes them.
 *
 * Why no mark is lost. A marker wrote a page first, then comes here. Words, then sum, top and tip, and at each of the four: if
 * the bits are there already, nothing is written, else they are set with an atomic OR. A fold goes the other way: its bit of
 * tip is cleared, then top exchanged for 0, then sum; then a word is loaded, its bits are owed, and only then they are cleared, those
 * that were loaded: so that a process that is killed leaves them in one of the two. All of that, and the fence before it, is sequentially
 * consistent; so:
 *
 * - A bit that the marker set in a word stays until a fold takes it. Behind it the marker sees to sum, top and tip, also when
 *   the word was as it should be: another marker may have come as far as the word only. If it finds the sum bit set, the fold
 *   that takes that bit away comes later than the look, hence later than the word, and looks at the word after it; the same
 *   for top and tip. If it finds it clear, it sets it, and then the one above. So once a mark has returned, either its bit was
 *   taken out by a fold, or tip leads to it.
 * - A marker that finds its bit in a word set, by another, leaves it at that: the fold that takes it out comes later than that
 *   look. The look comes later than the fence, and that later than the write to the page. Who reads the page after the fold,
 *   which holds the stripe until then, reads what was written.
 * - A fold may find bits of a summary without anything below: a marker came between two of its steps. That costs a look.
 * - Who looks without the stripe, for itself, reads the inbox's tip first and then that of its owed plane. A fold sets the
 *   latter before it clears the former: so a mark that has returned is seen in one of the two, also while it is between them.
 *   Who takes for a consumer need not: only takers of that consumer look, one at a time. */

#include "log_internal.h"

/* ---- marking ---- */

static void set_bits(uint64_t *word, uint64_t bits)
{
	if ((__atomic_load_n(word, __ATOMIC_SEQ_CST) & bits) != bits)
		__atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
}

static uint64_t bit_of(uint64_t i)
{
	return UINT64_C(1) << i % WORD_BITS;
}

static void mark_bits(const struct summed *inbox, uint64_t first, uint64_t last)
{
	for (uint64_t w = first / WORD_BITS; w <= last / WORD_BITS; w++) {
		set_bits(&inbox->bits[w], word_mask(w, first, last));
		set_bits(&inbox->sum[w / WORD_BITS], bit_of(w));
		set_bits(&inbox->top[w / STRIPE_WORDS], bit_of(w / WORD_BITS));
		set_bits(&inbox->tip[w / STRIPE_WORDS / WORD_BITS], bit_of(w / STRIPE_WORDS));
	}
}

void inbox_mark(const struct summed *inbox, uint64_t first, uint64_t last)
{
	__sync_synchronize(); /* what the caller wrote is to be seen before a bit is believed to be set */
	mark_bits(inbox, first, last);
}

void log_inbox_get(struct vfd_log *log, uint64_t address, struct log_inbox *out)
{
	gate_enter(&log->gate);
	struct cursor c = cursor_over(log, (struct range){ address, address });
	cursor_next(&c);
	struct summed inbox = inbox_of(log, c.region);
	*out = (struct log_inbox){ inbox.bits,
				   inbox.sum,
				   inbox.top,
				   inbox.tip,
				   bit_address(log, c.region, 0) >> log->page_shift,
				   c.region->last };
	gate_leave(&log->gate);
}

void log_inbox_set(const struct log_inbox *inbox, uint64_t first, uint64_t last)
{
	const struct summed summed = { inbox->bits, inbox->sum, inbox->top, inbox->tip };

	mark_bits(&summed, first - inbox->base, last - inbox->base);
}

/* ---- folding ---- */

static uint64_t take_out(uint64_t *word)
{
	return __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
}

struct fold {
	unsigned count;
	struct planes planes[MAX_CONSUMERS]; /* of those to whom it is owed */
	struct claim *claim;		     /* by one more, or NULL */
	uint64_t base;			     /* the region's first word */
	uint64_t fresh;			     /* pages that the first of them was not owed */
	struct range bits;		     /* that were marked; none if first is behind last */
};

/* Taken at once, as if it had been owed in between. True: in the planes. */
static bool claim_word(struct claim *claim, uint64_t base, uint64_t w, uint64_t word)
{
	claim->pages += word_count(word);
	if (claim->list && list_add(claim->list, base + w, word, word))
		return false;
	claim->list = NULL;
	claim->planes->taken.bits[w] |= word;
	claim->planes->other.bits[w] |= word;
	return true;
}

static void fold_word(struct fold *f, uint64_t w, uint64_t word)
{
	for (unsigned i = 0; i < f->count; i++) {
		uint64_t fresh = planes_merge_word(&f->planes[i], w, word, false);
		f->fresh += i ? 0 : fresh;
	}
	f->bits.first = min_u64(f->bits.first, w * WORD_BITS + word_first(word));
	f->bits.last = w * WORD_BITS + word_last(word);
}

static void fold_chunk(struct fold *f, const struct summed *inbox, uint64_t chunk)
{
	uint64_t claimed = 0;

	for (uint64_t words = take_out(&inbox->sum[chunk]); words; words &= words - 1) {
		uint64_t w = chunk * CHUNK_WORDS + word_first(words);
		uint64_t word = __atomic_load_n(&inbox->bits[w], __ATOMIC_SEQ_CST);
		if (!word)
			continue;
		fold_word(f, w, word);
		if (f->claim && claim_word(f->claim, f->base, w, word))
			claimed |= words & -words;
		keep_order();
		__atomic_fetch_and(&inbox->bits[w], ~word, __ATOMIC_SEQ_CST);
	}
	if (claimed) {
		summed_change(&f->claim->planes->taken, chunk, 0, claimed);
		summed_change(&f->claim->planes->other, chunk, 0, claimed);
	}
}

/* ---- causes of what was folded ---- */

static void add_cause(struct hold *hold)
{
	static const struct log_source caller = { .provenance = VFD_SOFTWARE, .who = "caller" };

	for (uint32_t left = hold->folded ? hold->log->live : 0; left; left &= left - 1)
		cause_add(hold->log, word_first(left), &caller, hold->hull, hold->fresh);
	hold->folded = false;
	hold->fresh = 0;
}

/* One cause spans gaps of up to a stripe; the more causes there are the larger they get, so that there are few. */
static bool is_near(const struct hold *hold, struct range where)
{
	unsigned shift = hold->log->page_shift + 18 + hold->causes;
	uint64_t gap = shift < WORD_BITS ? UINT64_C(1) << shift : UINT64_MAX;

	return where.first <= hold->hull.last
		       ? hold->hull.first <= where.last || hold->hull.first - where.last <= gap
		       : where.first - hold->hull.last <= gap;
}

static void remember(struct hold *hold, struct range bits)
{
	const struct vfd_log *log = hold->log;
	struct range where = { bit_address(log, hold->region, bits.first),
			       bit_address(log, hold->region, bits.last) + (log->page_size - 1) };

	if (hold->folded && !is_near(hold, where)) {
		add_cause(hold);
		hold->causes++;
	}
	if (!hold->folded)
		hold->hull = where;
	hold->hull.first = min_u64(hold->hull.first, where.first);
	hold->hull.last = max_u64(hold->hull.last, where.last);
	hold->folded = true;
}

/* ---- holding a stripe ---- */

static void fold_begin(struct fold *f, const struct hold *hold, struct claim *claim)
{
	f->count = 0;
	f->fresh = 0;
	f->claim = claim;
	f->base = first_word(hold->log, hold->region);
	f->bits = (struct range){ UINT64_MAX, 0 };
	for (uint32_t left = hold->log->live; left; left &= left - 1) {
		if (claim && claim->consumer == word_first(left))
			continue;
		f->planes[f->count] = planes_of(hold->log, hold->region, word_first(left));
		tip_set(&f->planes[f->count++].owed, hold->stripe);
	}
}

/* Whoever claims for the log's own consumer takes what was not owed to it. */
static void count_fresh(const struct fold *f, struct hold *hold)
{
	uint64_t fresh = f->claim && !f->claim->consumer ? f->claim->pages : f->fresh;

	hold->fresh += fresh;
	region_count_fresh(hold->region, fresh);
}

static void fold_end(const struct fold *f, struct hold *hold)
{
	for (unsigned i = 0; i < f->count; i++)
		if (!peek(&f->planes[i].owed.top[hold->stripe]))
			tip_clear(&f->planes[i].owed, hold->stripe);
	if (f->bits.first > f->bits.last)
		return;
	remember(hold, f->bits);
	count_fresh(f, hold);
	if (f->claim)
		f->claim->hull = f->bits;
}

void hold_fold(struct hold *hold, struct claim *claim)
{
	const struct summed *inbox = &hold->inbox;
	uint64_t stripe = hold->stripe;
	struct fold f;

	if (!(peek(&inbox->tip[stripe / WORD_BITS]) & bit_of(stripe)))
		return;
	fold_begin(&f, hold, claim);
	tip_clear(inbox, stripe);
	for (uint64_t chunks = take_out(&inbox->top[stripe]); chunks; chunks &= chunks - 1)
		fold_chunk(&f, inbox, stripe * WORD_BITS + word_first(chunks));
	fold_end(&f, hold);
}

/* Neighbouring stripes have different locks; else the same one may serve several. */
static pthread_mutex_t *stripe_mutex(const struct hold *hold)
{
	uint64_t mix = (hold->region->address >> hold->log->page_shift) * UINT64_C(0x9e3779b97f4a7c15) >> 32;

	return &hold->log->stripes[(mix + hold->stripe) % STRIPE_LOCKS].mutex;
}

static void let_go(struct hold *hold)
{
	if (hold->mutex)
		pthread_mutex_unlock(hold->mutex);
	hold->mutex = NULL;
}

void hold_stripe(struct hold *hold, struct region *region, uint64_t stripe)
{
	if (hold->mutex && hold->region == region && hold->stripe == stripe)
		return;
	let_go(hold);
	if (hold->region != region)
		hold->inbox = inbox_of(hold->log, region);
	hold->region = region;
	hold->stripe = stripe;
	hold->mutex = stripe_mutex(hold);
	pthread_mutex_lock(hold->mutex);
}

void hold_end(struct hold *hold)
{
	let_go(hold);
	add_cause(hold);
}

void fold_stripes(struct hold *hold, struct region *region, struct range stripes)
{
	struct summed inbox = hold->region == region ? hold->inbox : inbox_of(hold->log, region);

	for (uint64_t stripe; stripe_next(&inbox, NULL, &stripes, &stripe);) {
		hold_stripe(hold, region, stripe);
		hold_fold(hold, NULL);
	}
}

void fold_range(struct vfd_log *log, struct range where)
{
	struct hold hold = { .log = log };
	struct cursor c = cursor_over(log, where);

	while (cursor_next(&c))
		fold_stripes(&hold, c.region, stripes_of(c.bits));
	hold_end(&hold);
}
