#compdef onggi
# zsh completion for onggi: each Tab asks onggi itself.
_onggi() {
    local line name meaning files
    local -a candidates
    for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == ':files' ]]; then
            files=1
            continue
        fi
        [[ -n $line ]] || continue
        name=${line%%$'\t'*}
        meaning=${line#"$name"}
        meaning=${meaning#$'\t'}
        candidates+=("${name//:/\\:}${meaning:+:$meaning}")
    done
    (( ${#candidates} )) && _describe -V onggi candidates
    [[ -n $files ]] && _files
}
if [[ ${funcstack[1]} == _onggi ]]; then
    _onggi "$@"
elif (( $+functions[compdef] )); then
    compdef _onggi onggi
fi
