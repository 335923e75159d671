/* SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_JSON_H
#define EXAMPLES_JSON_H

#include <stdio.h>

/* Bytes that are not UTF-8 cannot be in JSON; names in sysfs and of programs have none in practice, so all that is not ASCII becomes U+FFFD. */
static inline void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			printf("\\u%04x", c);
		else if (c < 0x80)
			putchar(c);
		else
			printf("\\ufffd");
	}
	putchar('"');
}

#endif
