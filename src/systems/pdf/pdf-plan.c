/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pdf-plan.h"

#include "macros.h"

#define OVERLAP 1U

/* Above 500 pages there is no line of its own: they are split like those up to 500. */
static const struct {
        unsigned n_pages, n_each, n_at_once;
} sizes[] = {
        { 30, 30, 1 },
        { 100, 20, 3 },
        { PDF_PAGES_MAX, 15, 5 },
};

PdfPlan pdf_plan(unsigned n_pages)
{
        PdfPlan p = { .n_pages = n_pages, .n_chunks = 1 };

        assert(n_pages >= 1 && n_pages <= PDF_PAGES_MAX);
        for (size_t i = 0; i < ELEMENTSOF(sizes) && p.n_each == 0; i++)
                if (n_pages <= sizes[i].n_pages) {
                        p.n_each = sizes[i].n_each;
                        p.n_at_once = sizes[i].n_at_once;
                }
        if (n_pages > p.n_each) /* each chunk behind the first brings n_each - OVERLAP new pages */
                p.n_chunks += (n_pages - p.n_each + p.n_each - OVERLAP - 1) / (p.n_each - OVERLAP);
        assert(p.n_chunks <= PDF_CHUNKS_MAX);
        return p;
}

void pdf_plan_chunk(const PdfPlan *p, unsigned chunk, unsigned *ret_first, unsigned *ret_last)
{
        unsigned first = chunk * (p->n_each - OVERLAP) + 1, last = first + p->n_each - 1;

        assert(chunk < p->n_chunks);
        *ret_first = first;
        *ret_last = last < p->n_pages ? last : p->n_pages;
}
