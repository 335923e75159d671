/* SPDX-License-Identifier: MIT */

/* Progress and reports, for people and for programs. */

#include "migrate.h"

#include <string.h>
#include <unistd.h>

static const char *result_name(int result)
{
	static const char *const names[] = { "done",	"failed",  "cancelled",
					     "gave up", "refused", "unconfirmed" };

	return result <= 0 && result >= MIG_UNCONFIRMED ? names[-result] : "unknown";
}

/* What JSON does not take as it is. */
static void print_string(FILE *out, const char *s)
{
	putc('"', out);
	for (; *s; s++)
		if ((unsigned char)*s < ' ')
			fprintf(out, "\\u%04x", (unsigned char)*s);
		else
			fprintf(out, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
	putc('"', out);
}

/* ---- progress ------------------------------------------------------------------------------------------------------- */

static void progress_json(FILE *out, const struct mig_progress *p)
{
	fprintf(out,
		"{\"event\":\"progress\",\"phase\":\"%s\",\"round\":%u,\"pages_sent\":%llu,\"pages_left\":%"
		"llu,"
		"\"bytes_per_s\":%llu,\"dirty_pages_per_s\":%llu,\"deferred_bytes\":%llu,\"eta_s\":",
		mig_phase_name(p->phase), p->round, (unsigned long long)p->pages_sent,
		(unsigned long long)p->pages_left, (unsigned long long)p->rate,
		(unsigned long long)p->dirty_rate, (unsigned long long)p->deferred);
	fprintf(out, p->eta_s < 0 ? "null" : "%.3f", p->eta_s);
	fprintf(out, ",\"expected_downtime_ms\":%.3f}\n", p->downtime_ms);
}

static void progress_text(FILE *out, const struct mig_progress *p)
{
	bool terminal = isatty(fileno(out));

	fprintf(out, "%s%-10s round %2u: %8llu pages sent, %8llu left, %7.1f MB/s, %8llu dirty pages/s, ",
		terminal ? "\r\033[K" : "", mig_phase_name(p->phase), p->round,
		(unsigned long long)p->pages_sent, (unsigned long long)p->pages_left, (double)p->rate / 1e6,
		(unsigned long long)p->dirty_rate);
	if (p->eta_s < 0)
		fprintf(out, "never at this rate");
	else
		fprintf(out, "stop in %.1f s", p->eta_s);
	fprintf(out, ", downtime %.0f ms%s", p->downtime_ms, terminal ? "" : "\n");
}

void mig_print_progress(FILE *out, const struct mig_progress *progress, bool json)
{
	if (json)
		progress_json(out, progress);
	else
		progress_text(out, progress);
	fflush(out);
}

/* ---- the report ----------------------------------------------------------------------------------------------------- */

static const char *reason_name(uint32_t reason)
{
	static const char *const names[] = { [VFD_WHY_NONE] = "no reason",
					     [VFD_WHY_NO_TRACKING] = "the device cannot report",
					     [VFD_WHY_HARVEST_FAILED] = "a harvest failed",
					     [VFD_WHY_UNMAP_FAILED] = "an unmap failed",
					     [VFD_WHY_STATE_LOST] = "the kernel's record was lost",
					     [VFD_WHY_PAGE_SIZE] = "the page size changed",
					     [VFD_WHY_LOG_FAILED] = "a device's log failed",
					     [VFD_WHY_UNARMED] = "mapped where a device's log does not look",
					     [VFD_WHY_REARMED] = "a device's log was started anew",
					     [VFD_WHY_TORN] = "unmapped while a device could write" };

	return reason < sizeof names / sizeof *names ? names[reason] : "a reason unknown here";
}

static void causes_json(FILE *out, const struct mig_report *r)
{
	for (unsigned i = 0; i < r->cause_count; i++) {
		fprintf(out, "%s{\"who\":", i ? "," : "");
		print_string(out, r->causes[i].who);
		fprintf(out, ",\"reason\":\"%s\",\"pages\":%llu}", reason_name(r->causes[i].reason),
			(unsigned long long)r->causes[i].pages);
	}
}

static void report_json(FILE *out, const struct mig_report *r, const struct mig_error *err)
{
	fprintf(out, "{\"event\":\"report\",\"result\":\"%s\",\"phase\":\"%s\",\"message\":",
		result_name(r->result), mig_phase_name(r->phase));
	print_string(out, err->message);
	fprintf(out,
		",\"rounds\":%u,\"total_ms\":%.3f,\"downtime_ms\":%.3f,\"pause_ms\":%.3f,\"harvest_ms\":%.3f,"
		"\"copy_ms\":%.3f,\"state_ms\":%.3f,\"resume_ms\":%.3f,\"library_ms\":%.3f",
		r->rounds, r->total_ms, r->downtime_ms, r->pause_ms, r->harvest_ms, r->copy_ms, r->state_ms,
		r->resume_ms, r->library_ms);
	fprintf(out,
		",\"bytes\":%llu,\"pages_sent\":%llu,\"pages_zero\":%llu,\"pages_reported\":%llu,"
		"\"pages_assumed\":%llu,\"deferred_bytes\":%llu,\"state_bytes\":%llu,\"causes\":[",
		(unsigned long long)r->bytes, (unsigned long long)r->pages_sent,
		(unsigned long long)r->pages_zero, (unsigned long long)r->pages_reported,
		(unsigned long long)r->pages_assumed, (unsigned long long)r->deferred_bytes,
		(unsigned long long)r->state_bytes);
	causes_json(out, r);
	fprintf(out, "]}\n");
}

static void downtime_text(FILE *out, const struct mig_report *r)
{
	if (r->downtime_ms > 0)
		fprintf(out,
			"downtime %.1f ms: pause %.1f, last harvest %.1f, last copy %.1f, state %.1f, resume "
			"%.1f "
			"(of it in the library: %.1f)\n",
			r->downtime_ms, r->pause_ms, r->harvest_ms, r->copy_ms, r->state_ms, r->resume_ms,
			r->library_ms);
}

static void report_text(FILE *out, const struct mig_report *r, const struct mig_error *err)
{
	fprintf(out, "%s%s, %s%s%s: %u rounds, %.2f s, %llu pages (%llu zero), %llu bytes, %llu of state\n",
		isatty(fileno(out)) ? "\r\033[K" : "", result_name(r->result), mig_phase_name(r->phase),
		r->result ? ": " : "", err->message, r->rounds, r->total_ms / 1e3,
		(unsigned long long)r->pages_sent, (unsigned long long)r->pages_zero,
		(unsigned long long)r->bytes, (unsigned long long)r->state_bytes);
	downtime_text(out, r);
	fprintf(out, "pages: %llu reported, %llu assumed, %llu bytes deferred to the end\n",
		(unsigned long long)r->pages_reported, (unsigned long long)r->pages_assumed,
		(unsigned long long)r->deferred_bytes);
	for (unsigned i = 0; i < r->cause_count; i++)
		fprintf(out, "  assumed: %llu pages by %s: %s\n", (unsigned long long)r->causes[i].pages,
			r->causes[i].who, reason_name(r->causes[i].reason));
}

void mig_print_report(FILE *out, const struct mig_report *report, const struct mig_error *err, bool json)
{
	if (json)
		report_json(out, report, err);
	else
		report_text(out, report, err);
	fflush(out);
}
