# SPDX-License-Identifier: MIT
# fish completion of drover: the command itself says what fits (drover __complete).

function __drover_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] __complete -- $words[2..] "$current" 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path (string replace -r '^--[^=]*=' '' -- "$current")
            case :commands
                __fish_complete_command
            case :open
            case '*'
                echo $line
        end
    end
end

complete -c drover -f -a '(__drover_complete)'
