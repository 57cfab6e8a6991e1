/* SPDX-License-Identifier: MIT */
/* The numbers of what drover-image-build makes: images/image-files/recipes, built in. */
#include "guest/image.h"

#include <stdio.h>
#include <string.h>

#define LINE(text) text,
static const char *const lines[] = {
#include "guest/recipes.inc"
};
#undef LINE

unsigned image_recipe(const char *name)
{
	size_t len = strlen(name);
	unsigned number = 0;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (strncmp(lines[i], name, len) == 0 && lines[i][len] == ' ')
			sscanf(lines[i] + len, "%u", &number);
	return number;
}
