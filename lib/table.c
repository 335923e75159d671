/* SPDX-License-Identifier: MIT */
#include "table.h"

void table_init(struct table *table)
{
	*table = (struct table){ 0 };
	gate_init(&table->gate);
	pthread_mutex_init(&table->changing, NULL);
}

void table_end(struct table *table)
{
	index_end(&table->iova);
	pthread_mutex_destroy(&table->changing);
	gate_end(&table->gate);
}

bool table_reserve(struct table *table)
{
	pthread_mutex_lock(&table->changing);
	bool done = index_reserve(&table->iova);
	pthread_mutex_unlock(&table->changing);
	return done;
}

void table_unreserve(struct table *table)
{
	pthread_mutex_lock(&table->changing);
	index_unreserve(&table->iova);
	pthread_mutex_unlock(&table->changing);
}

void table_add(struct table *table, struct mapping *m)
{
	pthread_mutex_lock(&table->changing);
	gate_close(&table->gate);
	index_insert(&table->iova, m->where, (uintptr_t)m);
	table->bytes += range_size(m->where);
	gate_open(&table->gate);
	pthread_mutex_unlock(&table->changing);
}

void table_remove(struct table *table, struct mapping *m)
{
	pthread_mutex_lock(&table->changing);
	gate_close(&table->gate);
	index_remove(&table->iova, m->where.first, (uintptr_t)m);
	table->bytes -= range_size(m->where);
	gate_open(&table->gate);
	index_trim(&table->iova);
	pthread_mutex_unlock(&table->changing);
}
