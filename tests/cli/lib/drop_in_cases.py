"""The command lines that drop_in.py gives to both tools. {a|b} stands for each of its alternatives in turn."""

import re
import shlex

# Every option, as getopt takes them: letters, then long names. A line's name is the command's; "" are the tool's own.
OPTIONS = {
    "": ("hVT:", "help version trace="),
    "amend": ("hpqf:t:o:", "help object= image-opts force"),
    "bench": ("hc:d:f:i:no:qs:S:t:wU", "help flush-interval= no-drain pattern= image-opts force-share"),
    "bitmap": ("hb:F:g:f:", "help merge= add remove clear enable disable source-file= source-format= granularity= "
                            "object= image-opts"),
    "check": ("hqf:r:T:U", "help object= image-opts format= output= repair= force-share"),
    "commit": ("hqf:t:b:r:dp", "help object= image-opts"),
    "compare": ("hf:F:T:pqsU", "help object= image-opts force-share"),
    "convert": ("hUCcpqnf:t:T:O:B:F:o:l:S:r:m:W", "help object= image-opts target-image-opts target-is-zero bitmaps "
                                                  "skip-broken-bitmaps salvage force-share"),
    "create": ("hqf:b:F:uo:", "help object="),
    "dd": ("hUf:O:", "help object= image-opts force-share"),
    "info": ("hf:U", "help object= image-opts format= output= backing-chain force-share"),
    "map": ("hf:s:l:U", "help object= image-opts format= output= start-offset= max-length= force-share"),
    "measure": ("hO:o:f:l:U", "help object= image-opts output= size= force-share"),
    "snapshot": ("hUqla:c:d:", "help object= image-opts force-share"),
    "rebase": ("hUqf:t:T:pub:F:", "help object= image-opts force-share"),
    "resize": ("hf:q", "help object= image-opts preallocation= shrink"),
}

ANY = "{disk.raw|odd.raw|plain.qcow2|v2.qcow2|small.qcow2|packed.qcow2|top.qcow2|snap.qcow2|dirty.qcow2|none.qcow2}"
CACHES = "{none|writeback|writethrough|directsync|unsafe|other}"
SECRET = "--object secret,id=s,data=x"
NODE = "--image-opts driver=qcow2,file.driver=file,file.filename="

FRAME = """
{|-h|--help|--hel|-V|--version|-Vh|-hV|--|-x|--zork|-T|-T x|--trace=x|-T help|-T events=missing|-T file=log|nothing}
-T x info plain.qcow2
-- info -- plain.qcow2
{help|inf|INFO|--object x info|-q info plain.qcow2}
{info|check|map|compare|commit|amend|bench|bitmap|convert|create|dd|measure|rebase|snapshot} {-h|--help}
resize {-h|--help} plain.qcow2 1M
{info|check|map|compare|commit|amend|bench|convert|create|dd|measure|rebase|resize|snapshot} {|--zork|-Z|-f}
{info|check|map|commit|bench|snapshot} plain.qcow2 plain.qcow2
"""

LINES = {
    "info": f"""
{NODE}plain.qcow2
{{|-U|--output=json}} {ANY}
{{-f qcow2|-fraw|-f raw --output json|--format=qcow2|--form qcow2|-f other|-f ''}} plain.qcow2
{{--output=human|--output=other|--output=|--outp json|--output json --output human|--out=json}} plain.qcow2
--backing-chain {{|-U|--output=json}} {{top.qcow2|mid.qcow2|plain.qcow2|lost.qcow2|disk.raw}}
--backing {{top.qcow2|--output=json top.qcow2}}
{{--output=json|}} {{zstd.qcow2|narrow.qcow2|full.qcow2|sub.qcow2|lazy.qcow2|big.qcow2|data.qcow2|marks.qcow2}}
{{--output=json|}} {{leak.qcow2|broken.qcow2|lost.qcow2|mid.qcow2}}
{{missing|.|text|''|./plain.qcow2|-- plain.qcow2|plain.qcow2 --|-- -f|plain.qcow2 -U|-Uf qcow2 plain.qcow2}}
{{--force-share|--force}} plain.qcow2
{{{SECRET}|--image-opts}} plain.qcow2
""",
    "check": f"""
{NODE}plain.qcow2
{{|-q|--output=json}} {ANY}
{{|-q|--output=json|-r leaks|-r all|-r all --output=json|-q -r all}} {{leak.qcow2|broken.qcow2|dirty.qcow2}}
{{-r leaks|-r all|-r all --output=json}} {{plain.qcow2|disk.raw|top.qcow2}}
{{-r other|--repair=leaks|--rep all|--repair all|-rall|-U -r all|-r ''}} leak.qcow2
{{-U|--force-share|-f qcow2|--format qcow2|-f raw|-f other|--output=other}} plain.qcow2
-T {CACHES} plain.qcow2
{{missing|text|lost.qcow2|beyond.qcow2|big.qcow2|zstd.qcow2|narrow.qcow2|full.qcow2|data.qcow2|marks.qcow2|sub.qcow2}}
{{{SECRET}|--image-opts}} plain.qcow2
""",
    "map": f"""
{NODE}plain.qcow2
{{|-U|--output=json}} {ANY}
--output=json {{-s 64k|--start-offset=64k|--start-offset 0x10000|-s 64k -l 1k|--max-length=100k|-l 0|-s 2M|\
-s x}} plain.qcow2
{{-s 512k|-l 64k|-s 100 -l 700|-s 1.5k|-s -1|-l 1x|-l 0}} plain.qcow2
{{-f qcow2|--format=raw|-f other|--output=other|--force-share|--output=json -f raw}} plain.qcow2
{{|--output=json}} {{full.qcow2|big.qcow2|zstd.qcow2|narrow.qcow2|missing|lost.qcow2|mid.qcow2|text}}
{{{SECRET}|--image-opts}} plain.qcow2
""",
    "compare": f"""
{NODE}plain.qcow2 driver=qcow2,file.filename=v2.qcow2
{{|-q|-s|-p}} {{plain.qcow2 disk.raw|plain.qcow2 v2.qcow2|top.qcow2 mid.qcow2|plain.qcow2 small.qcow2|\
disk.raw odd.raw}}
{{|-s|-q}} {{tiny.raw disk.raw|none.qcow2 big.qcow2|packed.qcow2 plain.qcow2}}
{{-f qcow2|-F raw|-f qcow2 -F raw|-f raw|-f other|-F other|-U|--force-share|-pq}} plain.qcow2 disk.raw
-T {CACHES} plain.qcow2 plain.qcow2
{{missing plain.qcow2|plain.qcow2 missing|plain.qcow2|lost.qcow2 plain.qcow2|plain.qcow2 disk.raw v2.qcow2}}
{{{SECRET}|--image-opts}} plain.qcow2 disk.raw
""",
    "measure": f"""
-O qcow2 {NODE}plain.qcow2
{{|-O raw|-O qcow2|-O qcow2 --output=json}} {ANY}
-O qcow2 {{|--output=json}} --size {{0|1|1M|1.5G|1T|0x1000|x|-1|''}}
-O qcow2 -o {{cluster_size=512|cluster_size=2M,refcount_bits=64|compat=0.10|preallocation=full|extended_l2=on|\
size=5M|help|x=1|cluster_size=3}} --size 1G
{{-O other --size 1M|--size 1M|--output=json --size 1M|--output=other --size 1M|--size 1M --size 2M|\
--size=1M plain.qcow2|-O qcow2}}
-O qcow2 {{-l one|-l 2|-l 1|-l snapshot.name=2|-l snapshot.id=2|-l none|-f qcow2|-f raw|-f other|-U|\
--force-share}} snap.qcow2
{{-l one|-f qcow2}} --size 1M
{{{SECRET}|--image-opts}} plain.qcow2
-O qcow2 {{marks.qcow2|missing|big.qcow2|sub.qcow2|-o backing_file=x,backing_fmt=raw plain.qcow2}}
""",
    "snapshot": f"""
-l {NODE}snap.qcow2
{{-l|-lq|-U -l|--force-share -l|}} {{snap.qcow2|plain.qcow2|disk.raw}}
{{-a one|-a 1|-a 2|-a three|-q -a one|-U -a one|-d one|-d 1|-d 2|-d three|-q -d 2|-c one|-c new|-q -c new|\
-cnew}} snap.qcow2
{{-c a|-a a|-d a}} {{disk.raw|top.qcow2|v2.qcow2|dirty.qcow2|marks.qcow2}}
{{-l -c a|-c a -c b|-a a -d b|-l -l|-c ''}} snap.qcow2
{{-l missing|-c a missing|{SECRET} -l snap.qcow2|--image-opts -l snap.qcow2}}
""",
}

CHANGES = {
    "create": f"""
{{|-q}} -f {{raw|qcow2|other}} new {{0|1|512|1M|1.3k|1.5M|0x10000|1x|-1|9E|''}}
{{|-f qcow2}} new {{|1M 2M}}
-f qcow2 -o {{compat=0.10|compat=1.1|compat=v2|compat=2|cluster_size=512|cluster_size=2M|cluster_size=1k|\
cluster_size=500|lazy_refcounts=on|lazy_refcounts=maybe|refcount_bits=1|refcount_bits=64|refcount_bits=3|\
compression_type=zstd|compression_type=x|preallocation=metadata|preallocation=falloc|preallocation=full|\
preallocation=x}} new 1M
-f qcow2 -o {{extended_l2=on|data_file=d|encryption=on|encrypt.format=luks|compat=0.10,lazy_refcounts=on|size=2M|\
nothing=1|,|cluster_size|cluster_size=64k,,x|nocow=on|extent_size_hint=1M|\
backing_file=base.raw,backing_fmt=raw}} new 1M
-f raw -o {{preallocation=full|preallocation=falloc|preallocation=metadata|size=2M|nocow=on|backing_file=base.raw|\
cluster_size=1}} new 1M
-f qcow2 -o {{size=2M|backing_file=base.raw,backing_fmt=raw|backing_file=base.raw|size=1M,size=3M}} new
-f {{qcow2|raw|other}} -o {{help|?|help,size=1}} {{|new}}
-f qcow2 {{-b base.raw -F raw|-b base.raw|-F raw|-b mid.qcow2 -F qcow2|-b missing -F raw|-u -b missing -F raw|\
-u -b missing|-b base.raw -F other|-u -b base.raw -F other|-b '' -F raw|-b base.raw -F raw -o backing_fmt=qcow2|\
-b base.raw -b disk.raw -F raw|-b new -F raw|-b base.raw -F qcow2}} new
-f qcow2 {{-b base.raw -F raw|-u -b missing -F raw|-b base.raw|-u -b missing}} new 2M
-f qcow2 {{-b base.raw -F raw -o preallocation=metadata|-f raw|-o cluster_size=4k -o cluster_size=8k|\
-o cluster_size=4k -o refcount_bits=8}} new 1M
{{new 1M -f qcow2|-qf qcow2 new 1M|-qfqcow2 new 1M|-f raw -f qcow2 new 1M|-f qcow2 -- new 1M|new -f qcow2 1M|\
-f qcow2 missing/new 1M}}
-f qcow2 {{plain.qcow2|.}} 1M
-f raw -b base.raw -F raw new
{SECRET} -f qcow2 new 1M
""",
    "convert": f"""
-O qcow2 {NODE}plain.qcow2 new
-n --target-image-opts plain.qcow2 driver=qcow2,file.filename=zstd.qcow2
{{|-O qcow2|-O raw|-c -O qcow2}} {ANY} new
-O qcow2 {{-c -o compression_type=zstd|-o compat=0.10|-o cluster_size=4k|-o cluster_size=4k -o compat=0.10|\
-o preallocation=metadata|-o preallocation=full|-o size=5M|-o nothing=1|-o help|\
-o backing_file=base.raw,backing_fmt=raw|-o lazy_refcounts=on}} plain.qcow2 new
-O qcow2 {{-S 0|-S 4k|-S 64k|-S 1|-S x|-S 512|-S 32M|-m 1|-m 16|-m 0|-m 17|-m x|-W|-m 4 -W|-C|-C -W|-C -S 4k|-C -c|\
-r 1G|-r x|-r 0|-p|-q|-pq|-U|--force-share}} plain.qcow2 new
-t {CACHES} plain.qcow2 new
-T {CACHES} plain.qcow2 new
-O qcow2 {{-f qcow2|-f raw|-f other|-B base.raw -F raw|-B base.raw|-B missing -F raw|-F raw|-B base.raw -F other|\
-B base.raw -F raw -c}} top.qcow2 new
-O qcow2 {{-l one|-l 1|-l 2|-l snapshot.name=2|-l snapshot.id=1|-l snapshot.id=1,snapshot.name=one|-l none|\
-l snapshot.x=1}} snap.qcow2 new
{{-n|-n --target-is-zero|-n -o size=1M|--target-is-zero|-n -c|-n -S 0}} -O {{raw|qcow2}} plain.qcow2 zstd.qcow2
-n {{-O qcow2|-O raw|}} {{plain.qcow2 none.qcow2|plain.qcow2 missing|plain.qcow2 big.qcow2}}
-O {{raw|qcow2}} {{disk.raw odd.raw tiny.raw new|plain.qcow2 plain.qcow2 new|missing new|plain.qcow2|\
plain.qcow2 plain.qcow2|plain.qcow2 missing/new|plain.qcow2 .|lost.qcow2 new|text new|sub.qcow2 new}}
-O other plain.qcow2 new
{{-f qcow2 plain.qcow2 -O qcow2 new|plain.qcow2 new -O qcow2|-O qcow2 -- plain.qcow2 new|-qO qcow2 plain.qcow2 new|\
-O raw -O qcow2 plain.qcow2 new|-cO qcow2 disk.raw tiny.raw new|-c disk.raw new}}
-O qcow2 {{{SECRET}|--image-opts|--target-image-opts -n|--bitmaps|--salvage|--skip-broken-bitmaps|\
--bitmaps --skip-broken-bitmaps}} marks.qcow2 new
-O raw --salvage plain.qcow2 new
""",
    "dd": f"""
{NODE[:12]} if=driver=qcow2,file.filename=plain.qcow2 of=new
{{|-O qcow2}} if={ANY} of=new
{{bs=1M|bs=1000|bs=0|bs=x|bs=1M count=1|count=3|count=0|count=x|skip=1|skip=1 count=4|bs=64k skip=3 count=2|\
bs=1M skip=5|skip=x|bs=3G|bs=1k bs=2k}} if=disk.raw of=new
{{-f qcow2|-f raw|-f other|-O raw|-O other|-U|--force-share|-f qcow2 -O qcow2}} if=plain.qcow2 of=new
{{if=plain.qcow2|of=new|if=missing of=new|if=plain.qcow2 of=missing/new|x=1 if=plain.qcow2 of=new|plain.qcow2 new|\
if= of=new|of=new if=plain.qcow2 -O qcow2|if=disk.raw of=tiny.raw}}
{{{SECRET}|--image-opts}} if=plain.qcow2 of=new
""",
    "resize": f"""
{NODE}plain.qcow2 2M
{{|-q|--shrink}} {{plain.qcow2|v2.qcow2|top.qcow2|snap.qcow2|none.qcow2}} {{2M|+512|512k|-512k}}
-f raw {{|--shrink}} disk.raw {{2M|+100k|-512k|1M}}
{{plain.qcow2 0|plain.qcow2 x|plain.qcow2 +|plain.qcow2 -|plain.qcow2 -2M|plain.qcow2 1M|plain.qcow2 +1.5k|\
plain.qcow2 9E|plain.qcow2 ''|disk.raw 2M|missing 1M|plain.qcow2|1M|plain.qcow2 1M 2M|plain.qcow2 -- 2M|\
-- plain.qcow2 2M}}
--preallocation={{off|metadata|falloc|full|x}} plain.qcow2 {{2M|1M}}
--shrink --preallocation=metadata plain.qcow2 512k
{{-f qcow2|-f raw|-f other|--pre full|--preallocation full|-qf qcow2|plain.qcow2 --shrink}} plain.qcow2 2M
{{big.qcow2 +1T|small.qcow2 5M|full.qcow2 2M|dirty.qcow2 2M|marks.qcow2 2M}}
{{{SECRET}|--image-opts}} plain.qcow2 2M
""",
    "rebase": f"""
-b base.raw -F raw {NODE}top.qcow2
{{|-u}} {{-b base.raw -F raw|-b disk.raw -F raw|-b ''|-b missing -F raw|-b base.raw|-b base.raw -F other|\
}} {{top.qcow2|plain.qcow2}}
{{-u|}} -b plain.qcow2 -F qcow2 {{lost.qcow2|v2.qcow2|disk.raw}}
{{-q|-p|-pq|-f qcow2|-f raw|-f other|-U|--force-share}} -b base.raw -F raw top.qcow2
-t {CACHES} -b base.raw -F raw top.qcow2
-T {CACHES} -b base.raw -F raw top.qcow2
{{-b base.raw -F raw missing|-u -b gone2.qcow2 -F qcow2 lost.qcow2|-u lost.qcow2|-b top.qcow2 -F qcow2 top.qcow2|\
-u -b base.raw -F raw snap.qcow2}}
{{{SECRET}|--image-opts}} -b base.raw -F raw top.qcow2
""",
    "commit": f"""
{NODE}top.qcow2
{{|-q|-d|-p|-pq|-b base.raw|-b mid.qcow2|-d -b base.raw|-b plain.qcow2|-b missing|-f qcow2|-f raw|-f other|-r 1G|\
-r x}} top.qcow2
-t {CACHES} mid.qcow2
{{plain.qcow2|disk.raw|lost.qcow2|missing|mid.qcow2|-- mid.qcow2|mid.qcow2 -q}}
{{{SECRET}|--image-opts}} top.qcow2
""",
    "amend": f"""
-o lazy_refcounts=on {NODE}plain.qcow2
-o {{compat=0.10|compat=1.1|lazy_refcounts=on|refcount_bits=8|refcount_bits=3|size=2M|size=512k|cluster_size=4k|\
backing_file=x|nothing=1|help|compat=1.1,lazy_refcounts=on|encrypt.state=active|data_file=d|''}} {{plain.qcow2|\
v2.qcow2}}
{{|-q|-p|-pq|-f qcow2|-f raw|-f other|--force|-fqcow2}} -o lazy_refcounts=on plain.qcow2
-t {CACHES} -o lazy_refcounts=on plain.qcow2
{{plain.qcow2|-o|-o size=1M|-o compat=1.1 disk.raw|-o compat=1.1 missing|-o help|-f qcow2 -o help|-f raw -o help}}
-o {{compat=0.10|refcount_bits=16,compat=0.10}} {{lazy.qcow2|zstd.qcow2|narrow.qcow2|snap.qcow2|marks.qcow2}}
-o lazy_refcounts=on -o refcount_bits=8 plain.qcow2
{{{SECRET}|--image-opts}} -o lazy_refcounts=on plain.qcow2
""",
    "bench": f"""
-c 10 {NODE}plain.qcow2
-c 20 {{|-q|-w|-U|--force-share|-n -t none|-n|-i threads|-i native|-i io_uring|-i other|--no-drain|-d 1|-s 64k|\
-s 512 -S 1k|-S 4k|-o 64k|-o 2M|-w --pattern=7|--pattern 300|--pattern=1 -w -w}} plain.qcow2
-c 200 -d 4 -w {{--flush-interval=10|--flush-interval=10 --no-drain|--flush-interval 2|\
--flush-interval=x}} plain.qcow2
-c 10 {{--flush-interval=100|-s x|-o -1|-d x|-s 2M|-S x|-f qcow2|-f raw|-f other}} plain.qcow2
-c {{0|x|1k|-1|0x10}} plain.qcow2
-c 10 -t {CACHES} plain.qcow2
-c 10 {{missing|disk.raw|top.qcow2|none.qcow2}}
-c 10 {{{SECRET}|--image-opts}} plain.qcow2
""",
    "bitmap": f"""
--add {NODE}plain.qcow2 b2
{{--add|--remove|--clear|--enable|--disable|--merge b0|--add -g 64k|--add --disable}} {{marks.qcow2 b0|\
marks.qcow2 b1}}
{{|-f qcow2|--granularity=4k|-b marks.qcow2 -F qcow2 --merge b0|\
--source-file=marks.qcow2 --source-format qcow2 --merge b0|{SECRET}|--image-opts}} --add plain.qcow2 b2
{{--add marks.qcow2|marks.qcow2 b0|--add disk.raw b0|--add missing b0}}
""",
}


def alternatives(line):
    """All lines that one with {a|b} stands for."""
    found = re.search(r"\{([^{}]*)\}", line)
    if not found:
        return [line]
    rests = alternatives(line[found.end():])
    return [line[:found.start()] + choice + rest for choice in found[1].split("|") for rest in rests]


def words_of(block, command=""):
    lines = [line for line in block.splitlines() if line.strip()]
    return [([command] if command else []) + shlex.split(each) for line in lines for each in alternatives(line)]


def all_lines():
    lines = words_of(FRAME)
    for command, block in (LINES | CHANGES).items():
        lines += words_of(block, command)
    unique = {tuple(line): line for line in lines}
    return list(unique.values())
