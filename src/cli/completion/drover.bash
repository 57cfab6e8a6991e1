# SPDX-License-Identifier: MIT
# bash completion of drover: the command itself says what fits (drover __complete).
# shellcheck shell=bash

_drover() {
	local line=${COMP_LINE:0:COMP_POINT} cur candidate
	local -a words
	read -ra words <<<"$line"
	# behind a blank a new word begins
	[[ $line == *[[:blank:]] ]] && words+=('')
	cur=${words[-1]}
	COMPREPLY=()
	while IFS= read -r candidate; do
		case $candidate in
		:files)
			compopt -o filenames
			while IFS= read -r candidate; do
				COMPREPLY+=("$candidate")
			done < <(compgen -f -- "${cur##*[=:]}")
			;;
		:commands)
			while IFS= read -r candidate; do
				COMPREPLY+=("$candidate")
			done < <(compgen -c -- "$cur")
			;;
		:open)
			compopt -o nospace +o filenames
			;;
		*)
			candidate=${candidate%%$'\t'*}
			# readline replaces only what follows the last '=' or ':'
			[[ $cur == *[=:]* ]] && candidate=${candidate#"${cur%"${cur##*[=:]}"}"}
			COMPREPLY+=("$candidate")
			;;
		esac
	done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
}

complete -F _drover drover
