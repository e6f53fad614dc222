# fish completion for onggi: each Tab asks onggi itself.
function __onggi_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] __complete -- $words[2..-1] 2>/dev/null)
        if test "$line" = ':files'
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c onggi -f -a '(__onggi_complete)'
