package traffic

import "strings"

// The vocabulary of English sentences. It holds words that rules look for as
// well, such as selects, from, where, order, drops and script, since people
// write them. Left out are those that the Core Rule Set refuses in prose at
// level 1: union before a select, a watch or a user in front of a bracket, and an update
// behind a number.
var (
	nouns = strings.Fields(`account address afternoon airport answer apartment apple argument arrival article assistant audience
		autumn balance balcony bank basket battery beach bicycle bill bird blanket board book border bottle box breakfast bridge
		brother budget builder building bus butter button cable calendar camera candle card carpet castle catalogue ceiling chair
		chapter cheese child choice church cinema city climate clock cloud coast coat coffee collar colour committee company
		computer concert contract copy corner cotton country couple course cover crowd cupboard curtain customer damage daughter
		decision delivery desk detail dinner discount doctor document door drawer dress driver edge edition engine entrance
		envelope evening event example exchange exercise factory family farm feather fence festival field figure flight floor
		flower folder forest frame friend garden gate glass glove government grandmother grass group guest guide hammer handle
		harbour hat heart heating holiday horse hospital hotel house idea index insurance invoice island jacket journey judge juice
		kettle key kitchen knife label ladder lake lamp language laptop leather letter library light lunch machine magazine manager
		manual market match meadow meal meeting member message mirror model moment morning mountain museum music neighbour
		newspaper notebook number office oil onion orange order owner package page painting paper parcel parking part party passage
		path pattern payment pencil phone photo picture pillow plan plate platform pocket police pond postcard potato price printer
		problem product programme project promise quality question radio railway rain receipt recipe refund region repair reply
		report reservation restaurant result return river road roof room root rubber salad sample school screen script season seat
		selection service shadow shelf ship shirt shoe shop shoulder signal silver sister size sleeve snow soap sofa software
		solution song soup space spoon spring square staff stamp station stone storm story street student subscription suitcase
		summer supplier surface table tailor tea teacher team temperature test theatre ticket tool towel tower town toy traffic
		train translation tree trip trousers umbrella university valley vegetable version view village visitor
		voice voucher wall wallet warranty water weather website wedding week wheel window winter wire wood word worker
		workshop writer yard year`)
	verbs = strings.Fields(`accepts adds answers arranges asks avoids becomes begins believes blocks books borrows breaks brings
		builds buys calls carries catches changes checks chooses cleans closes collects compares completes contains copies corrects
		costs counts covers creates cuts decides deletes delivers describes designs discovers discusses draws drives drops enjoys
		enters exchanges executes explains feeds finds finishes fixes follows forgets gets gives groups grows guards guesses
		handles hears helps hides hopes inserts invites joins keeps kicks knows learns leaves lends lifts likes limits loads loses
		loves makes means measures meets mentions misses moves needs notices offers opens orders owns packs paints passes pays
		plans plays posts prefers prepares prints promises protects pulls pushes reaches reads receives recommends refuses
		remembers repairs replaces replies requires returns runs saves says selects sells sends serves shows shares sorts starts
		stops studies supports takes teaches tells tests thanks touches translates tries turns understands updates uses visits
		waits wants washes watches wears wins works writes`)
	adjectives = strings.Fields(`angry beautiful best big bitter black blue brave bright broken brown busy careful central cheap
		clean clear clever cold comfortable common complete correct cosy cotton curious daily dark deep different dirty distant dry
		early easy electric empty excellent expensive fair famous fast favourite final fine first flat foreign fresh friendly full
		funny gentle golden good grand great green grey happy hard heavy helpful high honest hot huge important interesting kind
		large last late lazy leather light little local lonely long loud lovely lucky metal modern narrow native natural new nice
		noisy normal old open orange ordinary original patient perfect plain pleasant polite popular possible pretty private proud
		public quick quiet rare ready real recent red regular rich right rough round safe second secret separate serious sharp
		short silent silver simple single slow small smart smooth soft special spare square steep strange strong sudden sunny sweet
		tall thick thin third tiny tired top true unusual useful usual warm weak wet white whole wide wild wise wonderful wooden
		wrong yellow young`)
	adverbs = strings.Fields(`afterwards again almost already always apparently carefully certainly clearly completely early easily
		eventually everywhere exactly fortunately gladly happily hardly honestly immediately instead later maybe meanwhile mostly
		nearly never often once outside perhaps politely probably quickly quietly rarely really regularly sadly seldom simply
		slowly sometimes somewhere soon still strangely suddenly surely today together tomorrow tonight twice unfortunately usually
		yesterday yet`)
	determiners  = strings.Fields(`the the the the a a a this that every my your his her our their some another each one`)
	prepositions = strings.Fields(`about above across after against along among around at before behind below beside between by
		despite during for from in inside into like near of off on onto out over past since through to toward under until up with
		within without where`)
	conjunctions = strings.Fields(`and and and but or so because while although if when unless since`)
	units        = strings.Fields(`times metres minutes days pages euros dollars percent grams litres miles degrees people`)
	sayings      = []string{
		"it doesn't matter", "I don't know", "we've seen that before", "it's fine", "that's all", "you can't have both", "they won't mind",
		"thanks a lot", "please call me back", "see the picture", "I'd like to order one", "let's meet there", "R&D said so", "50% off",
		"what's new", "no idea", "we couldn't find it", "as soon as possible", "she isn't sure", "ask the owner's brother",
	}
	vocabulary = [][]string{nouns, nouns, adjectives, verbs}

	firstNames = strings.Fields(`Ada Aisha Alan Alice Ana Anders Anna Benjamin Bruno Carla Carlos Chen Chloe Clara Daniel David Dmitri
		Elena Emma Erik Fatima Felix Fiona Francois Grace Hannah Hiroshi Hugo Ibrahim Ines Ingrid Ivan James Jana Jean Johanna John
		Jonas Jose Julia Karim Kate Kenji Laila Lars Laura Leo Linda Lucas Maja Marco Maria Mark Marta Martin Mei Michael Mohamed
		Nadia Nina Noah Olga Oliver Omar Paul Peter Pia Priya Rafael Rosa Ruth Samuel Sara Sofia Sven Tariq Thomas Tom Ursula Vera
		Victor Wei William Yara Yuki Zoe`)
	lastNames = strings.Fields(`Adams Andersen Baker Bauer Bianchi Brown Carter Costa Cohen Dubois Evans Fernandez Fischer Garcia
		Gupta Haddad Hansen Hughes Ivanova Jansen Jones Kaya Keller Khan Kim Kowalski Larsen Lee Lopez Martin Meyer Moreau Murphy
		Nakamura Nguyen Novak OBrien Okafor Olsen Patel Pereira Popescu Richter Rossi Sato Schmidt Silva Singh Smith Suzuki Tanaka
		Taylor Thompson Varga Wagner Walker Wang Weber White Williams Wilson Wright Yamada Yilmaz Zhang`)
	mailHosts = strings.Fields(`example.com example.org example.net mail.example post.example.org`)
	streets   = strings.Fields(`Street Road Lane Avenue Square Gardens Hill Close Way Park`)
	cities    = []string{"Aarhus", "Berlin", "Bristol", "Bruges", "Cadiz", "Dublin", "Gdansk", "Graz", "Kyoto", "Leeds", "Lyon", "Malmo", "New Haven",
		"Oslo", "Porto", "Prague", "Quebec", "Salt Lake City", "Tampere", "Turin", "Utrecht", "Wellington", "York", "Zagreb"}
)

// A language is enough of one to write text that has its letters. Arabic and
// Hindi are left out: the rules look at the lower byte of each letter as well,
// which makes quotes, digits and signs of theirs, and take one text in a hundred
// or in some thousands for SQL.
type language struct {
	words       []string
	space, stop string
}

var languages = []language{
	{strings.Fields(`über größe straße können schön möchte für grün später früh käse brötchen müller lieferung bestellung heute morgen
		nicht und aber weil der die das ein rechnung schlüssel tür öffnen fünf zwölf süß`), " ", "."},
	{strings.Fields(`déjà où être été garçon élève français forêt hôtel théâtre leçon très après café crème commande livraison aujourd’hui
		demain mais parce que le la les une facture clé fenêtre août noël cœur`), " ", "."},
	{strings.Fields(`mañana niño señor años también está después teléfono dirección pedido envío aquí allí corazón jamón café azúcar
		pero porque el la los una factura llave ventana español gracias árbol`), " ", "!"},
	{strings.Fields(`zażółć gęślą jaźń łódź źródło dziękuję proszę zamówienie dostawa jutro dzisiaj ponieważ ale książka kość świat żółty
		mężczyzna później ósmy ćwiczenie pięć`), " ", "."},
	{strings.Fields(`привет заказ доставка сегодня завтра потому что книга окно ключ город улица большой маленький новый старый хороший
		человек время вопрос ответ магазин цена скидка спасибо пожалуйста погода`), " ", "."},
	{strings.Fields(`καλημέρα παραγγελία σήμερα αύριο γιατί βιβλίο παράθυρο κλειδί πόλη δρόμος μεγάλος μικρός νέος παλιός άνθρωπος χρόνος
		ερώτηση απάντηση κατάστημα τιμή ευχαριστώ`), " ", "."},
	{strings.Fields(`günaydın sipariş teslimat bugün yarın çünkü kitap pencere anahtar şehir sokak büyük küçük yeni eski insan zaman soru
		yanıt mağaza fiyat teşekkürler ağaç gülümseme`), " ", "."},
	{strings.Fields(`你好 订单 今天 明天 因为 书 窗户 钥匙 城市 街道 大 小 新 旧 人 时间 问题 回答 商店 价格 谢谢 天气 非常 我们`), "", "。"},
	{strings.Fields(`こんにちは 注文 配達 今日 明日 なぜなら 本 窓 鍵 町 通り 大きい 小さい 新しい 古い 人 時間 質問 答え 店 値段 ありがとう です を が`), "", "。"},
	{strings.Fields(`안녕하세요 주문 배송 오늘 내일 왜냐하면 책 창문 열쇠 도시 거리 큰 작은 새로운 오래된 사람 시간 질문 대답 가게 가격 감사합니다`), " ", "."},
	{strings.Fields(`chào đơn hàng giao hôm nay ngày mai bởi vì sách cửa sổ chìa khóa thành phố đường lớn nhỏ mới cũ người thời gian câu hỏi
		trả lời giá cảm ơn`), " ", "."},
	{strings.Fields(`great 👍 thanks 🎉 love 😀 lovely ☀️ party 🍕 travel ✈️ home 🏡 music 🎶 happy 🥳 coffee ☕ wow 🚀 ready ✅`), " ", " 🙂"},
}
